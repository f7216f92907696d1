//! Certificates made for a test, and clients that speak TLS as they are told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use gateway::demo::client::{Request, Response, receive};
use gateway::demo::wire::Wire;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::soon;

/// Signs certificates that its own clients trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose issuer has its own name for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "Test Authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names.
    pub fn pair(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        Pair {
            cert: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that trusts it.
    pub fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        TlsClient {
            roots,
            version: &rustls::version::TLS13,
            own: None,
            protocols: Vec::new(),
        }
    }
}

/// What a client knows and shows.
#[derive(Clone)]
pub struct TlsClient {
    roots: RootCertStore,
    version: &'static SupportedProtocolVersion,
    own: Option<Pair>,
    protocols: Vec<Vec<u8>>,
}

impl TlsClient {
    /// Speaks TLS 1.2 only.
    pub fn tls12(mut self) -> Self {
        self.version = &rustls::version::TLS12;
        self
    }

    /// Shows this certificate when asked for one.
    pub fn showing(mut self, own: &Pair) -> Self {
        self.own = Some(own.clone());
        self
    }

    /// Offers these protocols (ALPN).
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Its config, with a memory of sessions of its own.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = self.protocols.clone();
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }

    /// A connection that asks for this name.
    pub async fn connect(&self, to: SocketAddr, name: &str) -> io::Result<TlsConnection> {
        connect(self.config(), to, name).await
    }

    /// A handshake on a connection that is open already.
    pub async fn over(&self, stream: TcpStream, name: &str) -> io::Result<TlsConnection> {
        over(self.config(), stream, name).await
    }

    /// Sends a request on a connection of its own, whose handshake asks for this name.
    pub async fn send(&self, to: SocketAddr, name: &str, request: &Request) -> Response {
        let mut connection = self.connect(to, name).await.expect("a handshake");
        connection.send(name, request).await.expect("an answer")
    }
}

/// A connection with this config, which may remember sessions.
pub async fn connect(config: Arc<ClientConfig>, to: SocketAddr, name: &str) -> io::Result<TlsConnection> {
    over(config, TcpStream::connect(to).await?, name).await
}

async fn over(config: Arc<ClientConfig>, stream: TcpStream, name: &str) -> io::Result<TlsConnection> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let shaken = TlsConnector::from(config).connect(name, stream);
    let stream = soon("a handshake, or its refusal", shaken).await?;
    Ok(TlsConnection(Wire::new(stream)))
}

/// A connection inside TLS.
pub struct TlsConnection(pub Wire<TlsStream<TcpStream>>);

impl TlsConnection {
    /// Sends a request for this host, and reads the whole answer. With TLS 1.3 a client learns only now that its certificate was refused.
    pub async fn send(&mut self, host: &str, request: &Request) -> io::Result<Response> {
        self.0.send(&request.bytes(host)).await?;
        soon("an answer", receive(&mut self.0)).await
    }

    /// The connection's own side of TLS.
    pub fn tls(&self) -> &rustls::ClientConnection {
        self.0.stream().get_ref().1
    }

    /// The certificate that was shown.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.tls().peer_certificates().expect("a handshake")[0]
            .clone()
            .into_owned()
    }
}

impl Pair {
    /// The certificate, as it goes over the wire.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }
}

/// What ends TLS before an upstream that speaks plainly.
pub struct Terminator {
    /// Where it listens.
    pub address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
}

/// What a client of a [`Terminator`] asked for and showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// SNI.
    pub name: Option<String>,
    /// Whether it showed a certificate.
    pub showed: bool,
}

impl Terminator {
    /// Shows this certificate; asks for one of `clients`, who may have none.
    pub async fn before(upstream: SocketAddr, pair: &Pair, clients: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(clients.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![pair.der()],
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let seen = handshakes.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), seen.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let session = stream.get_ref().1;
                    seen.lock().push(Handshake {
                        name: session.server_name().map(str::to_owned),
                        showed: session.peer_certificates().is_some(),
                    });
                    let mut plain = TcpStream::connect(upstream).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
        Self { address, handshakes }
    }

    /// All handshakes that came to an end so far.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().clone()
    }
}
