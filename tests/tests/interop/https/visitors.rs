//! Who visits the API.

use super::network::Network;
use crate::PATIENCE;
use crate::fleet::base64;
use e2e::fleet::Centre;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Output, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

/// Has Chromium load a page, and returns the document that it made of it.
pub(super) async fn chromium(centre: &Centre<'_>, path: &str) -> String {
    let profile = tempfile::tempdir().expect("a folder");
    let mut browser = Command::new("chromium-headless-shell");
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        // As a person trusts a certificate by its fingerprint; the stores of roots are nothing of ours.
        .arg(format!("--ignore-certificate-errors-spki-list={}", leaf_key_hash(centre)))
        .arg(format!("https://{}{path}", centre.api().address()));
    let output = run(browser, "apt-get install chromium-headless-shell").await;
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// SHA-256 of the key in the API's leaf, base64.
fn leaf_key_hash(centre: &Centre<'_>) -> String {
    let leaf = CertificateDer::from_pem_file(centre.https_root().with_file_name("https.pem")).expect("a leaf");
    let leaf = webpki::EndEntityCert::try_from(&leaf).expect("a certificate");
    base64(&Sha256::digest(leaf.subject_public_key_info().as_ref()))
}

/// Asks as Go 1.24 does: its groups in its order, with shares of the first and of what is in it. Returns the group that it
/// got, and the answer.
pub(super) async fn go(centre: &Centre<'_>, path: &str) -> (String, String) {
    let groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    let provider = CryptoProvider { kx_groups: groups, ..default_provider() };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(centre.https_root()).expect("a root")).expect("a root");
    let tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let visit = async {
        let to = centre.api().address();
        let stream = TcpStream::connect(to).await.expect("it listens");
        let name = ServerName::IpAddress(to.ip().into());
        let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("a handshake");
        let group = stream.get_ref().1.negotiated_key_exchange_group().expect("a group").name();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        (format!("{group:?}"), answer)
    };
    tokio::time::timeout(PATIENCE, visit).await.expect("an end")
}

/// What became of a visit of curl's.
pub(super) struct Visit {
    /// The status of the answer, 0 without one.
    pub(super) status: u16,
    /// What it told its user.
    pub(super) said: String,
}

/// Asks for `/health` as a curl from before ML-KEM does, be it a newer one: from here, or from another machine.
pub(super) async fn classical_curl(from: Option<&Network>, centre: &Centre<'_>, to: Ipv4Addr) -> Visit {
    let port = centre.api().address().port();
    let place = from.map(Network::over_there);
    let words = place.iter().flatten().copied().chain(["curl"]).collect::<Vec<_>>();
    let mut curl = Command::new(words[0]);
    curl.args(&words[1..])
        .args(["--silent", "--show-error", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--curves", "X25519:P-256:P-384", "--noproxy", "*"])
        .arg("--cacert")
        .arg(centre.https_root())
        .args(["--resolve", &format!("localhost:{port}:{}", IpAddr::V4(to))])
        .arg(format!("https://localhost:{port}/health"));
    let output = run(curl, "apt-get install curl iproute2").await;
    let status = String::from_utf8_lossy(&output.stdout).parse().expect("curl prints the status");
    Visit { status, said: String::from_utf8_lossy(&output.stderr).into_owned() }
}

async fn run(mut command: Command, remedy: &str) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{program} does not end"));
    output.unwrap_or_else(|error| panic!("{program} does not start ({error}); as root: {remedy}"))
}
