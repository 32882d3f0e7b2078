//! Certificates for servers in tests.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A certificate for `localhost` and 127.0.0.1 with its authority, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The authority, which clients have to trust.
    pub authority: String,
    pub chain: String,
    pub key: String,
}

impl Certificate {
    pub fn for_localhost() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        Ok(Self { authority: authority.pem(), chain: certificate.pem(), key: key.serialize_pem() })
    }
}
