//! Ed25519 of ring for `jsonwebtoken`, whose own providers depend on a second crypto library.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // Needed for JWKs of `jsonwebtoken` only.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Installs the provider. To be called before signing or verifying; later calls do nothing.
pub(super) fn install() {
    // It fails if the provider is installed already.
    let _ = PROVIDER.install_default();
}

/// Encodes a private key as PKCS#8 version 1 (RFC 8410): a fixed header and the seed.
pub(super) fn pkcs8(seed: &[u8; 32]) -> Zeroizing<[u8; 48]> {
    const HEADER: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let mut key = Zeroizing::new([0; 48]);
    key[..HEADER.len()].copy_from_slice(&HEADER);
    key[HEADER.len()..].copy_from_slice(seed);
    key
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type of the field")]
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    check(*algorithm, key.family())?;
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.as_bytes())
        .map_err(|_| new_error(ErrorKind::InvalidEddsaKey))?;
    Ok(Box::new(RingSigner(pair)))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the type of the field")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    check(*algorithm, key.family())?;
    Ok(Box::new(RingVerifier(UnparsedPublicKey::new(&ED25519, key.try_get_as_bytes()?.to_vec()))))
}

fn check(algorithm: Algorithm, family: AlgorithmFamily) -> Result<()> {
    if algorithm == Algorithm::EdDSA && family == AlgorithmFamily::Ed {
        Ok(())
    } else {
        Err(new_error(ErrorKind::InvalidAlgorithm))
    }
}

struct RingSigner(Ed25519KeyPair);

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct RingVerifier(UnparsedPublicKey<Vec<u8>>);

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.0.verify(message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::KeyPair as _;

    use super::*;

    #[test]
    fn pkcs8_encodes_the_key_of_rfc_8032() {
        // RFC 8032, 7.1, test 1.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&*pkcs8(&seed)).expect("a key");
        assert_eq!(pair.public_key().as_ref()[..4], [0xd7, 0x5a, 0x98, 0x01]);
    }

    #[test]
    fn other_algorithms_are_rejected() {
        let key = EncodingKey::from_secret(b"secret");
        assert!(signer(&Algorithm::HS256, &key).is_err());
        assert!(signer(&Algorithm::EdDSA, &key).is_err());
    }
}
