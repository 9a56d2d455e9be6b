//! Certificates and keys in PEM files.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use x509_parser::{
    error::X509Error,
    nom,
    prelude::{FromDer as _, X509Certificate},
    time::ASN1Time,
};

use super::{
    error::certificate_words,
    tls_error::{AUTHORITIES, KEY, TlsError},
};

/// The authorities in the text of a PEM file. Those that are expired are left out; an error where none is valid now.
/// The path is for errors.
pub fn authorities_in(text: &[u8], path: &Path, now: SystemTime) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    let mut any_is_valid = false;
    let mut out_of_time = None;
    for certificate in certificates_in(text, AUTHORITIES, path)? {
        match check_validity(AUTHORITIES, path, &parse(AUTHORITIES, path, &certificate)?, now) {
            Ok(()) => any_is_valid = true,
            Err(error @ TlsError::Expired { .. }) => {
                out_of_time = Some(error);
                continue;
            }
            // It is kept: it will become valid while the file is in use.
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
        Some(error) if !any_is_valid => return Err(error),
        Some(error) => tracing::warn!("{error}; the others in it are used"),
        None => {}
    }
    Ok(store)
}

/// The certificates in the text of a PEM file; at least one.
pub(super) fn certificates_in(
    text: &[u8],
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Unusable { what, path: path.into(), reason: reason_of(&error) })?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { what, path: path.into() });
    }
    Ok(certificates)
}

/// The private key in the text of a PEM file. The path is for errors.
pub fn key_in(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let is_encrypted = text.windows(9).any(|part| part == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        _ if is_encrypted => TlsError::Encrypted(path.into()),
        pem::Error::NoItemsFound => TlsError::Empty { what: KEY, path: path.into() },
        error => TlsError::Unusable { what: KEY, path: path.into(), reason: reason_of(&error) },
    })
}

/// The reason why a PEM file can't be parsed.
fn reason_of(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its end is missing".into(),
        pem::Error::IllegalSectionStart { .. } => "it does not begin as a PEM file does".into(),
        pem::Error::Base64Decode(_) => "it is not in base64".into(),
        error => error.to_string(),
    }
}

/// Until when a certificate is valid; `None` where it can't be parsed.
pub(super) fn valid_until(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(time_of(parsed.validity().not_after))
}

fn time_of(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

pub(super) fn parse<'a>(
    what: &'static str,
    path: &Path,
    certificate: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, TlsError> {
    X509Certificate::from_der(certificate).map(|(_, certificate)| certificate).map_err(|error| {
        let reason = match error {
            nom::Err::Error(error) | nom::Err::Failure(error)
                if !matches!(error, X509Error::Der(_) | X509Error::NomError(_) | X509Error::Generic) =>
            {
                error.to_string()
            }
            // For these the parser's messages are names in its code.
            _ => "it is cut off, or no certificate".into(),
        };
        TlsError::Unusable { what, path: path.into(), reason }
    })
}

/// An error where the certificate is expired or not valid yet.
pub(super) fn check_validity(
    what: &'static str,
    path: &Path,
    certificate: &X509Certificate<'_>,
    now: SystemTime,
) -> Result<(), TlsError> {
    let (from, until) =
        (time_of(certificate.validity().not_before), time_of(certificate.validity().not_after));
    if now > until {
        return Err(TlsError::Expired { what, path: path.into(), at: until });
    }
    if now < from {
        return Err(TlsError::NotYet { what, path: path.into(), at: from });
    }
    Ok(())
}

/// Reads a file that must be a regular one.
pub(super) fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { what, path: path.into(), source };
    // Reading from a pipe or a device may never end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(TlsError::Unusable { what, path: path.into(), reason: "it is not a file".into() });
    }
    fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// The certificate of an authority that is valid from the beginning of one year to that of another.
    fn authority(from: i32, until: i32) -> String {
        let mut params = CertificateParams::new(["authority".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn an_authority_whose_time_is_over_is_left_out_and_one_whose_time_comes_is_not() {
        let now = SystemTime::from(date_time_ymd(2024, 1, 1));
        let [expired, present, not_yet_valid] =
            [(2020, 2022), (2020, 2030), (2026, 2030)].map(|(from, until)| authority(from, until));
        let read =
            |text: &str| authorities_in(text.as_bytes(), Path::new("/ca"), now).map(|store| store.len());
        assert_eq!(read(&format!("{expired}{present}{not_yet_valid}")).unwrap(), 2);
        let error = read(&expired).unwrap_err();
        assert!(
            error.is_of_time()
                && error.to_string().ends_with("/ca expired at 2022-01-01T00:00:00Z: renew it")
        );
        let error = read(&format!("{expired}{not_yet_valid}")).unwrap_err();
        assert!(
            error.is_of_time() && error.to_string().contains("/ca is not valid before 2026-01-01T00:00:00Z")
        );
        assert!(!read("").unwrap_err().is_of_time());
    }
}
