//! TLS settings, from files of certificates and keys, and whether these files were renewed.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, crypto::ring};
use x509_parser::prelude::X509Version;

use super::{
    certificates::{authorities_in, certificates_in, check_validity, key_in, parse, read},
    error::certificate_words,
    tls_error::{AUTHORITIES, CERTIFICATE, KEY, TlsError},
    tls_verifier::Verifier,
};

/// The files for TLS that the user named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Certificates of authorities that are trusted; `None` for the system's.
    pub authorities: Option<PathBuf>,
    /// The client certificate, with intermediates, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The certificates of authorities that distributions trust: Debian, Red Hat, SUSE.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
/// The keys that ring supports.
const NO_KEY: &str =
    "it is broken, or neither of RSA (2048 to 8192 bits) nor ECDSA (P-256, P-384) nor Ed25519";

impl Files {
    /// Reads and checks all files. An expired certificate, or one that is not valid yet, is reported only if nothing
    /// else is wrong: when time or a renewed file resolves it, no other error must remain.
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
        let (authorities, mut validity) = match authorities {
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
            return validity.map(|()| builder.with_no_client_auth());
        };
        let chain = certificates_in(&read(CERTIFICATE, path)?, CERTIFICATE, path)?;
        // The first is the client's. An expired intermediate is no error: the receiver may have a newer one.
        for (place, certificate) in chain.iter().enumerate() {
            let certificate = parse(CERTIFICATE, path, certificate)?;
            if place == 0 && certificate.version != X509Version::V3 {
                let version = certificate.version.0.saturating_add(1);
                return Err(TlsError::Version { path: path.clone(), version });
            }
            match check_validity(CERTIFICATE, path, &certificate, now) {
                Err(error) if error.is_of_time() && place > 0 => {
                    tracing::warn!("of a certificate that follows ours: {error}");
                }
                Err(error) if error.is_of_time() => validity = validity.and(Err(error)),
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
        validity.map(|()| config)
    }

    /// Changes when a file is renewed. Links are followed: a renewal often replaces only a link.
    pub(super) fn stamp(&self) -> Vec<Option<Stamp>> {
        let client = self.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        let own = self.authorities.iter().chain(client).map(|path| Stamp::of(path));
        let of_system = SYSTEM_AUTHORITIES.into_iter().filter(|_| self.authorities.is_none());
        own.chain(of_system.map(|path| Stamp::of(Path::new(path)))).collect()
    }
}

/// Settings for a client that does not use TLS. They trust no certificate.
pub(super) fn without() -> Result<ClientConfig, TlsError> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Provider(error.to_string()))
}

/// The identity of a file, and when it was changed.
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

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    // Some certificates of a system may be too old to be parsed.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(store) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

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
}
