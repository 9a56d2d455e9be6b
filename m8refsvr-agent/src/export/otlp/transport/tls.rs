//! TLS: from files of certificates and keys to a configuration, and again when the files are renewed.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use thiserror::Error;
use x509_parser::{
    error::X509Error,
    nom,
    prelude::{FromDer as _, X509Certificate, X509Version},
    time::ASN1Time,
};

use super::{error::certificate_words, tls_verifier::Verifier};

/// The files that the user named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Authorities that sign the receiver's certificate; the system's when there is none.
    pub authorities: Option<PathBuf>,
    /// Our certificate, with those between it and its authority, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Why TLS can't be set up; each names the file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file could not be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    Unreadable {
        /// What is in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing of that kind is in it.
    #[error("there is no {what} in {}: it must be a PEM file", path.display())]
    Empty {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It is there, but not understood.
    #[error("the {what} in {} can't be used: {reason}", path.display())]
    Unusable {
        /// What is in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Our certificate is of a version that TLS libraries don't take.
    #[error(
        "the client certificate in {} is of X.509 version {version}, and must be of version 3: `openssl req -x509` makes \
         such a one, and `openssl x509 -req` with -extfile",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// As people count: from 1.
        version: u32,
    },
    /// The key is protected by a password.
    #[error("the key in {} is encrypted: give one without a password", .0.display())]
    Encrypted(PathBuf),
    /// Its time is over.
    #[error("the {what} in {} expired at {}: renew it", path.display(), humantime::format_rfc3339_seconds(*at))]
    Expired {
        /// What is in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// When.
        at: SystemTime,
    },
    /// Its time has not come.
    #[error(
        "the {what} in {} is not valid before {}: check this machine's clock",
        path.display(),
        humantime::format_rfc3339_seconds(*at)
    )]
    NotYet {
        /// What is in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// When it will be.
        at: SystemTime,
    },
    /// Certificate and key are not a pair.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The system knows no authorities.
    #[error("this system has no certificates of authorities (package ca-certificates): give --ca-cert")]
    NoSystemRoots,
    /// What was built in does not work.
    #[error("TLS is not to be had: {0}")]
    Provider(String),
}

/// The files that errors are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOfTls {
    /// Of authorities.
    Authorities,
    /// Of the client certificate.
    Certificate,
    /// Of its key.
    Key,
}

impl TlsError {
    /// The file that it is about; `None` where no single one is.
    pub fn file(&self) -> Option<FileOfTls> {
        match self {
            Self::Unreadable { what, .. }
            | Self::Empty { what, .. }
            | Self::Unusable { what, .. }
            | Self::Expired { what, .. }
            | Self::NotYet { what, .. } => match *what {
                AUTHORITIES => Some(FileOfTls::Authorities),
                CERTIFICATE => Some(FileOfTls::Certificate),
                _ => Some(FileOfTls::Key),
            },
            Self::Version { .. } => Some(FileOfTls::Certificate),
            Self::Encrypted(_) | Self::Mismatch { .. } => Some(FileOfTls::Key),
            Self::NoSystemRoots | Self::Provider(_) => None,
        }
    }

    /// Whether time alone mends it, or a renewed file: no setting is wrong.
    pub(super) fn is_of_time(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotYet { .. })
    }
}

/// Where distributions keep the certificates of the authorities that they trust: Debian, Red Hat, SUSE.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
const AUTHORITIES: &str = "certificate of an authority";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "client key";
/// What ring takes.
const NO_KEY: &str =
    "it is broken, or neither of RSA (2048 to 8192 bits) nor ECDSA (P-256, P-384) nor Ed25519";

impl Files {
    /// Reads and checks them all. That one is out of its time is said last: time or a renewal mends that, and must not
    /// bring to light another fault that was there from the start.
    pub fn load(&self) -> Result<ClientConfig, TlsError> {
        let now = SystemTime::now();
        let mut given = Vec::new();
        let authorities = match &self.authorities {
            Some(path) => {
                let text = read(AUTHORITIES, path)?;
                given = certificates_in(&text, AUTHORITIES, path)?;
                authorities_in(&text, path, now)
            }
            None => system_authorities(),
        };
        let (authorities, mut timely) = match authorities {
            Err(error) if error.is_of_time() => (RootCertStore::empty(), Err(error)),
            outcome => (outcome?, Ok(())),
        };
        let builder = if given.is_empty() || authorities.is_empty() {
            builder()?.with_root_certificates(authorities)
        } else {
            let verifier = Verifier::new(authorities, given, Arc::new(ring::default_provider()));
            let verifier = verifier.map_err(|error| TlsError::Provider(error.to_string()))?;
            builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        };
        let Some((path, key_path)) = &self.client else {
            return timely.map(|()| builder.with_no_client_auth());
        };
        let chain = certificates_in(&read(CERTIFICATE, path)?, CERTIFICATE, path)?;
        // The first is ours. Those after it may serve a receiver that knows a newer one of the same authority.
        for (place, certificate) in chain.iter().enumerate() {
            let certificate = parsed(CERTIFICATE, path, certificate)?;
            if place == 0 && certificate.version != X509Version::V3 {
                let version = certificate.version.0.saturating_add(1);
                return Err(TlsError::Version { path: path.clone(), version });
            }
            match in_time(CERTIFICATE, path, &certificate, now) {
                Err(error) if error.is_of_time() && place > 0 => {
                    tracing::warn!("of a certificate that follows ours: {error}");
                }
                Err(error) if error.is_of_time() => timely = timely.and(Err(error)),
                outcome => outcome?,
            }
        }
        let key = key_in(&read(KEY, key_path)?, key_path)?;
        let config = builder.with_client_auth_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { certificate: path.clone(), key: key_path.clone() }
            }
            rustls::Error::InvalidCertificate(reason) => TlsError::Unusable {
                what: CERTIFICATE,
                path: path.clone(),
                reason: certificate_words(&reason).into(),
            },
            _ => TlsError::Unusable { what: KEY, path: key_path.clone(), reason: NO_KEY.into() },
        })?;
        timely.map(|()| config)
    }

    /// What tells that a file was renewed. Links are followed, as renewal often changes a link alone.
    pub(super) fn stamp(&self) -> Vec<Option<Stamp>> {
        let client = self.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        let own = self.authorities.iter().chain(client).map(|path| Stamp::of(path));
        let of_system = SYSTEM_AUTHORITIES.into_iter().filter(|_| self.authorities.is_none());
        own.chain(of_system.map(|path| Stamp::of(Path::new(path)))).collect()
    }
}

/// What the client is made with where nothing is sent by TLS: it trusts nobody.
pub(super) fn without() -> Result<ClientConfig, TlsError> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Provider(error.to_string()))
}

/// A file's identity and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The authorities in the text of a file that are in their time; an error when none is. The path is for people.
pub fn authorities_in(text: &[u8], path: &Path, now: SystemTime) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let mut any_in_time = false;
    let mut out_of_time = None;
    for certificate in certificates_in(text, AUTHORITIES, path)? {
        match in_time(AUTHORITIES, path, &parsed(AUTHORITIES, path, &certificate)?, now) {
            Ok(()) => any_in_time = true,
            Err(error @ TlsError::Expired { .. }) => {
                out_of_time = Some(error);
                continue;
            }
            // Its time comes, or the clock is set, and nobody reads the file again.
            Err(error @ TlsError::NotYet { .. }) => out_of_time = Some(error),
            Err(error) => return Err(error),
        }
        store.add(certificate).map_err(|error| TlsError::Unusable {
            what: AUTHORITIES,
            path: path.into(),
            reason: match error {
                rustls::Error::InvalidCertificate(reason) => certificate_words(&reason).into(),
                error => error.to_string(),
            },
        })?;
    }
    match out_of_time {
        Some(error) if !any_in_time => return Err(error),
        Some(error) => tracing::warn!("{error}; the others in it are used"),
        None => {}
    }
    Ok(store)
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    // Some of a system's certificates may be too old to be understood.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(store) }
}

fn certificates_in(
    text: &[u8],
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Unusable { what, path: path.into(), reason: in_words(&error) })?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { what, path: path.into() });
    }
    Ok(certificates)
}

/// The key in the text of a file. The path is for people.
pub fn key_in(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let is_encrypted = text.windows(9).any(|part| part == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        _ if is_encrypted => TlsError::Encrypted(path.into()),
        pem::Error::NoItemsFound => TlsError::Empty { what: KEY, path: path.into() },
        error => TlsError::Unusable { what: KEY, path: path.into(), reason: in_words(&error) },
    })
}

fn in_words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its end is missing".into(),
        pem::Error::IllegalSectionStart { .. } => "it does not begin as a PEM file does".into(),
        pem::Error::Base64Decode(_) => "it is not in base64".into(),
        error => error.to_string(),
    }
}

/// Until when a certificate is valid; `None` for one that is not understood.
pub(super) fn valid_until(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(at(parsed.validity().not_after))
}

fn at(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

fn parsed<'a>(
    what: &'static str,
    path: &Path,
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, TlsError> {
    X509Certificate::from_der(certificate).map(|(_, parsed)| parsed).map_err(|error| {
        let reason = match error {
            nom::Err::Error(error) | nom::Err::Failure(error)
                if !matches!(error, X509Error::Der(_) | X509Error::NomError(_) | X509Error::Generic) =>
            {
                error.to_string()
            }
            // The parser has only names of its code for these.
            _ => "it is cut off, or no certificate".into(),
        };
        TlsError::Unusable { what, path: path.into(), reason }
    })
}

fn in_time(
    what: &'static str,
    path: &Path,
    certificate: &X509Certificate<'_>,
    now: SystemTime,
) -> Result<(), TlsError> {
    let (from, until) = (at(certificate.validity().not_before), at(certificate.validity().not_after));
    if now > until {
        return Err(TlsError::Expired { what, path: path.into(), at: until });
    }
    if now < from {
        return Err(TlsError::NotYet { what, path: path.into(), at: from });
    }
    Ok(())
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { what, path: path.into(), source };
    // Reading another kind could take for ever.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(TlsError::Unusable { what, path: path.into(), reason: "it is not a file".into() });
    }
    fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    /// The certificate of an authority that is valid from the beginning of one year to that of another.
    fn authority(from: i32, until: i32) -> String {
        let mut params = CertificateParams::new(["authority".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn a_certificate_with_what_is_not_supported_is_blamed_in_words_and_not_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let [path, key_path] = ["cert", "key"].map(|name| folder.path().join(name));
        let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
        let key = KeyPair::generate().unwrap();
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        let files = Files { authorities: Some(path.clone()), client: Some((path.clone(), key_path)) };
        assert_eq!(
            files.load().unwrap_err().to_string(),
            format!(
                "the client certificate in {} can't be used: a critical extension of it is not supported",
                path.display()
            )
        );
    }

    #[test]
    fn an_authority_whose_time_is_over_is_left_out_and_one_whose_time_comes_is_not() {
        let now = SystemTime::from(date_time_ymd(2024, 1, 1));
        let [over, present, coming] =
            [(2020, 2022), (2020, 2030), (2026, 2030)].map(|(from, until)| authority(from, until));
        let read =
            |text: &str| authorities_in(text.as_bytes(), Path::new("/ca"), now).map(|store| store.len());
        assert_eq!(read(&format!("{over}{present}{coming}")).unwrap(), 2);
        let error = read(&over).unwrap_err();
        assert!(
            error.is_of_time()
                && error.to_string().ends_with("/ca expired at 2022-01-01T00:00:00Z: renew it")
        );
        let error = read(&format!("{over}{coming}")).unwrap_err();
        assert!(
            error.is_of_time() && error.to_string().contains("/ca is not valid before 2026-01-01T00:00:00Z")
        );
        assert!(!read("").unwrap_err().is_of_time());
    }
}
