//! Certificates of one run: an authority, and a server on loopback that it vouches for.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tidings_loadgen::{Error, While};

/// The name that the server's certificate is for.
pub(crate) const HOST: &str = "localhost";

pub(crate) fn authority(folder: &Path) -> PathBuf {
    folder.join("authority.pem")
}

pub(crate) fn certificate(folder: &Path) -> PathBuf {
    folder.join("server.pem")
}

pub(crate) fn key(folder: &Path) -> PathBuf {
    folder.join("server.key")
}

/// Makes them: P-256, as each of the peers takes it.
pub(crate) fn make(folder: &Path) -> Result<(), Error> {
    let own_key = || KeyPair::generate().during("make a key");
    let mut params = CertificateParams::new(Vec::new()).during("make an authority")?;
    // Not the same name as the server's: OpenSSL would hold that for self-signed.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority of a run");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, own_key()?).during("make an authority")?;
    let names = vec![HOST.to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).during("make a certificate")?;
    params.distinguished_name.push(DnType::CommonName, HOST);
    let server_key = own_key()?;
    let server = params
        .signed_by(&server_key, &issuer)
        .during("sign a certificate")?;
    let files = [
        (authority(folder), issuer.pem()),
        (certificate(folder), server.pem()),
        (key(folder), server_key.serialize_pem()),
    ];
    for (path, text) in files {
        fs::write(&path, text).during("write a certificate")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_files_are_made() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).unwrap();
        for file in [
            authority(folder.path()),
            certificate(folder.path()),
            key(folder.path()),
        ] {
            assert!(fs::read_to_string(file).unwrap().starts_with("-----BEGIN"));
        }
    }
}
