//! Certificates for TLS on loopback, made anew for each test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// Two authorities, and what they have certified; PEM files that are gone when this is dropped.
pub(crate) struct Certificates {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The name of a receiver that only a proxy can find: nobody can have it.
pub(crate) const FAR: &str = "receiver.invalid";

/// In seconds after 1970.
const YEAR_2100: u64 = 4_102_444_800;

/// When a certificate is valid.
#[derive(Clone, Copy)]
enum Validity {
    Now,
    Expired,
    /// From so many seconds after 1970 on.
    From(u64),
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ours = authority(folder.path(), "authority", Validity::Now);
        let other = authority(folder.path(), "other-authority", Validity::Now);
        authority(folder.path(), "expired-authority", Validity::Expired);
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        for (name, issuer, purpose, validity) in [
            ("server", &ours, &server, Validity::Now),
            ("expired-server", &ours, &server, Validity::Expired),
            ("coming-server", &ours, &server, Validity::From(YEAR_2100)),
            ("client", &ours, &client, Validity::Now),
            ("expired-client", &ours, &client, Validity::Expired),
            ("other-client", &other, &client, Validity::Now),
        ] {
            certify(folder.path(), name, issuer, purpose, validity);
        }
        Self { folder, issuer: ours }
    }

    /// The authority of all but `other_client`.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Another authority, of `other_client`.
    pub(crate) fn other_authority(&self) -> PathBuf {
        self.folder.path().join("other-authority.pem")
    }

    /// An authority that has certified nothing.
    pub(crate) fn expired_authority(&self) -> PathBuf {
        self.folder.path().join("expired-authority.pem")
    }

    /// For localhost, 127.0.0.1, ::1, and [`FAR`].
    pub(crate) fn server(&self) -> Identity {
        self.identity("server")
    }

    pub(crate) fn expired_server(&self) -> Identity {
        self.identity("expired-server")
    }

    pub(crate) fn coming_server(&self) -> Identity {
        self.identity("coming-server")
    }

    pub(crate) fn client(&self) -> Identity {
        self.identity("client")
    }

    pub(crate) fn expired_client(&self) -> Identity {
        self.identity("expired-client")
    }

    /// Of a client, valid after this time.
    pub(crate) fn coming_client(&self, after: Duration) -> Identity {
        let from = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + after;
        let (name, purpose) = ("coming-client", ExtendedKeyUsagePurpose::ClientAuth);
        certify(self.folder.path(), name, &self.issuer, &purpose, Validity::From(from.as_secs()));
        self.identity(name)
    }

    /// Of another authority.
    pub(crate) fn other_client(&self) -> Identity {
        self.identity("other-client")
    }

    /// As users make one for a receiver by `openssl req -x509`: with CA:TRUE, and for localhost by its common name, or
    /// also by an alternative name.
    pub(crate) fn by_openssl(&self, name: &str, alternative: Option<&str>) -> Identity {
        let identity = self.identity(name);
        let mut command = Command::new("openssl");
        command.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "365",
            "-subj",
            "/CN=localhost",
        ]);
        command.arg("-keyout").arg(&identity.key).arg("-out").arg(&identity.certificate);
        if let Some(alternative) = alternative {
            command.arg("-addext").arg(format!("subjectAltName={alternative}"));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        identity
    }

    fn identity(&self, name: &str) -> Identity {
        let file = |ending: &str| self.folder.path().join(format!("{name}{ending}"));
        Identity { certificate: file(".pem"), key: file(".key") }
    }
}

fn authority(folder: &Path, name: &str, validity: Validity) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(name, validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join(format!("{name}.pem")), issuer.pem()).unwrap();
    issuer
}

fn certify(
    folder: &Path,
    name: &str,
    issuer: &CertifiedIssuer<'_, KeyPair>,
    purpose: &ExtendedKeyUsagePurpose,
    validity: Validity,
) {
    let mut params = params(name, validity);
    params.extended_key_usages = vec![purpose.clone()];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let names = ["localhost", "127.0.0.1", "::1", FAR].map(str::to_owned);
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = match validity {
        Validity::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1)),
        Validity::Expired => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
        Validity::From(seconds) => {
            (date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds), date_time_ymd(2120, 1, 1))
        }
    };
    params
}
