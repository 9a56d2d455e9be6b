//! Verifies the receiver's certificate by the Web PKI, with one exception. The Web PKI refuses a server's certificate
//! that is an authority's (CA:TRUE). It is accepted if the user gave that very certificate as an authority. Servers
//! use such certificates because `openssl req -x509` makes them, and curl and other clients accept them.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer as _, X509Certificate},
};

/// A verifier by the authorities of a file.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    /// All certificates of the file.
    given: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// An error where `authorities` is empty.
    pub(super) fn new(
        authorities: RootCertStore,
        given: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), provider).build()?;
        Ok(Self { inner, given })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if is_as_authority(&error) && self.given.contains(end_entity) => {
                let (_, certificate) =
                    X509Certificate::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
                in_time(&certificate, now)?;
                for_servers(&certificate)?;
                named(end_entity, &certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Whether the certificate was refused because it is an authority's.
fn is_as_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn in_time(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    Ok(())
}

/// An error where the certificate names its purposes (extended key usage), and servers are not among them.
fn for_servers(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.server_auth || usage.value.any => Ok(()),
        Ok(Some(_)) => Err(CertificateError::InvalidPurpose),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}

/// An error where the certificate is for another name. Its alternative names count, or if none of them is a host's, its
/// common name, as in OpenSSL.
fn named(
    end_entity: &CertificateDer<'_>,
    certificate: &X509Certificate<'_>,
    server_name: &ServerName<'_>,
) -> Result<(), Error> {
    let of_host =
        |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
    let has_names = certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => names.general_names.iter().any(of_host),
        _ => false,
    });
    if has_names {
        return verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name);
    }
    let mut common_names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let is_named = match server_name {
        ServerName::DnsName(host) => common_names.any(|name| is_name_of(name, host.as_ref())),
        ServerName::IpAddress(address) => {
            let address = IpAddr::from(*address);
            common_names.any(|name| name.parse() == Ok(address))
        }
        _ => false,
    };
    if is_named { Ok(()) } else { Err(CertificateError::NotValidForName.into()) }
}

/// Whether a common name is that of a host. A star stands for the first label.
fn is_name_of(name: &str, host: &str) -> bool {
    let (name, host) = (name.trim_end_matches('.'), host.trim_end_matches('.'));
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, of))) => {
            !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(of)
        }
        (Some(_), None) => false,
        (None, _) => !name.is_empty() && name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use rcgen::{
        BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        date_time_ymd,
    };
    use rustls::{
        ClientConnection, ServerConfig, ServerConnection,
        crypto::ring,
        pki_types::PrivateKeyDer,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
        version::{TLS12, TLS13},
    };

    use super::*;
    use crate::export::otlp::{ExportError, Files};

    /// A certificate as by `openssl req -x509 -subj /CN=COMMON`, with these alternative names.
    fn params(common: &str, names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
        params
    }

    fn made(params: &CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap(), key)
    }

    /// A server that shows this certificate, whatever its key is.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// A handshake by each version of TLS: the server shows `shown` and has `key`, the client trusts `given`. The
    /// first error of the client.
    fn handshake(shown: &Certificate, key: &KeyPair, given: &Certificate, host: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, given.pem()).unwrap();
        let files = Files { authorities: Some(path), client: None };
        let config = Arc::new(files.load().map_err(|error| error.to_string())?);
        for version in [&TLS12, &TLS13] {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let key = ring::sign::any_supported_type(&key).unwrap();
            let shows = Shows(Arc::new(CertifiedKey::new(vec![shown.der().clone()], key)));
            let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(shows));
            let mut server = ServerConnection::new(Arc::new(server)).unwrap();
            let name = ServerName::try_from(host.to_owned()).unwrap();
            let mut client = ClientConnection::new(Arc::clone(&config), name).unwrap();
            while client.is_handshaking() || server.is_handshaking() {
                let mut bytes = Vec::new();
                client.write_tls(&mut bytes).unwrap();
                server.read_tls(&mut io::Cursor::new(&bytes)).unwrap();
                server.process_new_packets().unwrap();
                bytes.clear();
                server.write_tls(&mut bytes).unwrap();
                client.read_tls(&mut io::Cursor::new(&bytes)).unwrap();
                client
                    .process_new_packets()
                    .map_err(|error| ExportError::of_tls(&error, host).to_string())?;
            }
        }
        Ok(())
    }

    /// A handshake where the client trusts the certificate that the server shows.
    fn itself(params: &CertificateParams, host: &str) -> Result<(), String> {
        let (certificate, key) = made(params);
        handshake(&certificate, &key, &certificate, host)
    }

    #[test]
    fn a_certificate_that_was_given_is_trusted_though_it_is_an_authoritys() {
        itself(&params("any", &["localhost", "127.0.0.1", "::1"]), "localhost").unwrap();
        itself(&params("any", &["localhost", "127.0.0.1", "::1"]), "127.0.0.1").unwrap();
        itself(&params("any", &["*.example.com"]), "a.example.com").unwrap();
    }

    #[test]
    fn the_common_name_counts_where_there_are_no_others() {
        itself(&params("localhost", &[]), "LOCALHOST").unwrap();
        itself(&params("*.example.com", &[]), "a.example.com").unwrap();
        itself(&params("127.0.0.1", &[]), "127.0.0.1").unwrap();
        let not_for = |common: &str, names: &[&str], host: &str| {
            let error = itself(&params(common, names), host).unwrap_err();
            assert_eq!(error, format!("TLS: the receiver's certificate is not for the name {host}"));
        };
        not_for("localhost", &["other"], "localhost");
        not_for("other", &["localhost"], "other");
        not_for("localhost", &[], "other");
        not_for("*.com", &[], "example.com");
        not_for("*.example.com", &[], "a.b.example.com");
        not_for("*.example.com", &[], "example.com");
        not_for("localhost", &[], "127.0.0.1");
    }

    #[test]
    fn one_that_was_not_given_is_refused_although_its_name_is_the_same() {
        let params = params("localhost", &["localhost"]);
        let ((shown, key), (given, _)) = (made(&params), made(&params));
        let error = handshake(&shown, &key, &given, "localhost").unwrap_err();
        let words = "TLS: the receiver's certificate is not valid: it is an authority's own, and not among those of \
                     --ca-cert: give it there";
        assert_eq!(error, words);
    }

    #[test]
    fn who_has_not_its_key_is_refused() {
        let (certificate, _) = made(&params("localhost", &["localhost"]));
        let other = KeyPair::generate().unwrap();
        assert!(handshake(&certificate, &other, &certificate, "localhost").is_err());
    }

    #[test]
    fn one_that_is_for_clients_alone_is_refused() {
        let mut params = params("localhost", &["localhost"]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        assert!(itself(&params, "localhost").unwrap_err().contains("another purpose"));
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        itself(&params, "localhost").unwrap();
    }

    #[test]
    fn one_that_is_out_of_its_time_is_refused() {
        let certificate = |from, until| {
            let mut params = params("localhost", &["localhost"]);
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
            made(&params).0
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_704_067_200));
        let [present, expired, not_yet_valid] =
            [(2020, 2030), (2020, 2022), (2026, 2030)].map(|(from, until)| certificate(from, until));
        let given = [&present, &expired, &not_yet_valid].map(|it| it.der().clone());
        let mut authorities = RootCertStore::empty();
        authorities.add(given[0].clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(authorities, given.to_vec(), provider).unwrap();
        let verified = |certificate: &Certificate| {
            let name = ServerName::try_from("localhost").unwrap();
            let outcome = verifier.verify_server_cert(certificate.der(), &[], &name, &[], now);
            outcome.map_err(|error| ExportError::of_tls(&error, "localhost").to_string())
        };
        verified(&present).unwrap();
        assert_eq!(verified(&expired).unwrap_err(), "TLS: the receiver's certificate has expired");
        assert!(verified(&not_yet_valid).unwrap_err().contains("not valid yet"));
        // The validity is checked here too, not only by the Web PKI.
        let parsed = |certificate: &Certificate| {
            let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
            in_time(&parsed, now)
        };
        assert_eq!(parsed(&expired), Err(CertificateError::Expired));
        assert_eq!(parsed(&not_yet_valid), Err(CertificateError::NotValidYet));
    }
}
