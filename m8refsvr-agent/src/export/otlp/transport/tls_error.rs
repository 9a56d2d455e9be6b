//! Why TLS can't be set up. Each error names the file.

use std::{io, path::PathBuf, time::SystemTime};

use thiserror::Error;

/// What files contain, in the words of errors.
pub(super) const AUTHORITIES: &str = "certificate of an authority";
pub(super) const CERTIFICATE: &str = "client certificate";
pub(super) const KEY: &str = "client key";

/// Why TLS can't be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file could not be read.
    #[error("cannot read the {what} {}: {source}", path.display())]
    Unreadable {
        /// What the file is to contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file contains nothing of that kind.
    #[error("there is no {what} in {}: it must be a PEM file", path.display())]
    Empty {
        /// What the file is to contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It can't be parsed, or has a kind that is not supported.
    #[error("the {what} in {} can't be used: {reason}", path.display())]
    Unusable {
        /// What the file is to contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The client certificate has an X.509 version that TLS libraries don't support.
    #[error(
        "the client certificate in {} is of X.509 version {version}, and must be of version 3: `openssl req -x509` makes \
         such a one, and `openssl x509 -req` with -extfile",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        version: u32,
    },
    /// The key is protected by a password.
    #[error("the key in {} is encrypted: give one without a password", .0.display())]
    Encrypted(PathBuf),
    /// The certificate is expired.
    #[error("the {what} in {} expired at {}: renew it", path.display(), humantime::format_rfc3339_seconds(*at))]
    Expired {
        /// What the file is to contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The end of its validity.
        at: SystemTime,
    },
    /// The certificate is not valid yet.
    #[error(
        "the {what} in {} is not valid before {}: check this machine's clock",
        path.display(),
        humantime::format_rfc3339_seconds(*at)
    )]
    NotYet {
        /// What the file is to contain.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The start of its validity.
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
    /// The system has no certificates of authorities.
    #[error("this system has no certificates of authorities (package ca-certificates): give --ca-cert")]
    NoSystemRoots,
    /// The TLS library refuses its own settings.
    #[error("TLS can't be set up: {0}")]
    Provider(String),
}

/// A file that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOfTls {
    /// `--ca-cert`.
    Authorities,
    /// `--client-cert`.
    Certificate,
    /// `--client-key`.
    Key,
}

impl TlsError {
    /// The file that the error is about; `None` where it is about none.
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

    /// Whether a certificate is expired or not valid yet. No setting is wrong then: time or a renewed file resolves it.
    pub(super) fn is_of_time(&self) -> bool {
        matches!(self, Self::Expired { .. } | Self::NotYet { .. })
    }
}
