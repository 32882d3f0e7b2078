//! TLS to the mail server.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Clone)]
pub(super) struct TlsSettings {
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl TlsSettings {
    /// Requires a certificate for `host` from an authority that the system trusts, or from one
    /// in the file `authority`.
    pub fn new(host: &str, authority: Option<&str>) -> anyhow::Result<Self> {
        let name = ServerName::try_from(host.to_owned())
            .with_context(|| format!("{host} is not a name that a certificate can have"))?;
        let mut roots = RootCertStore::empty();
        // Certificates that rustls cannot use are left out.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = authority {
            let pem = std::fs::read(file);
            let pem = pem.with_context(|| format!("can't read {file}, the cacertfile"))?;
            let shape = || format!("{file}, the cacertfile, is not a certificate");
            let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            for certificate in certificates.with_context(shape)? {
                roots.add(certificate).with_context(shape)?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("can't set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { name, connector: TlsConnector::from(Arc::new(config)) })
    }

    pub async fn connect<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.connect(self.name.clone(), stream).await
    }
}
