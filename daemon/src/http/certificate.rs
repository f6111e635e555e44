//! The certificate of the service: the one that the configuration names, or one that the node makes for itself and keeps in
//! its data directory. Read when the service starts and whenever it is to be read again.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::limits::{CERTIFICATE_DAYS, CERTIFICATE_RENEWAL_DAYS, PEM_BYTES};
use super::wall;
use crate::config::HttpTls;
use crate::files::{self, SecretFileError};

/// Folder of the self-made one in the data directory.
const FOLDER: &str = "http";
/// First word of the line above the self-made certificate that says until when and for whom it is.
const NOTE: &str = "tidings-self-made";
const DAY: u64 = 86_400;
/// Clocks differ: it is valid from a day ago.
const EARLIER: u64 = DAY;

/// Why a certificate cannot be used.
#[derive(Debug)]
pub struct CertificateError {
    /// The file that it is about.
    pub path: PathBuf,
    /// What is wrong.
    pub wrong: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.wrong)
    }
}

impl CertificateError {
    fn new(path: &Path, wrong: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            wrong: wrong.into(),
            remedy: remedy.into(),
        }
    }
}

/// Where the self-made one is in a data directory.
pub fn self_made(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER).join("cert.pem")
}

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// What the configuration says.
    pub tls: HttpTls,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where the service listens.
    pub address: SocketAddr,
    /// The host's name.
    pub host: String,
}

impl Source {
    /// The certificate as it is now; none without TLS. A self-made one is made if it is missing, ends soon or is for others.
    pub fn load(&self) -> Result<Option<Arc<ServerConfig>>, CertificateError> {
        match &self.tls {
            HttpTls::Off => Ok(None),
            HttpTls::Files { cert, key } => read(cert, key).map(Some),
            HttpTls::SelfMade => self.self_made().map(Some),
        }
    }

    /// Whether it is made here, so that it has to be looked at from time to time.
    pub fn is_self_made(&self) -> bool {
        self.tls == HttpTls::SelfMade
    }

    /// Where the self-made one is.
    pub fn path(&self) -> PathBuf {
        self_made(&self.data_dir)
    }

    fn self_made(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let (cert, key) = (self.path(), self.path().with_file_name("key.pem"));
        let names = self.names();
        let lasts = fs::read_to_string(&cert).is_ok_and(|text| {
            is_good(
                &text,
                &names,
                wall::seconds() + CERTIFICATE_RENEWAL_DAYS * DAY,
            )
        });
        if lasts && let Ok(config) = read(&cert, &key) {
            return Ok(config);
        }
        let (made, private) = make(&names).map_err(|error| {
            CertificateError::new(
                &cert,
                format!("cannot be made: {error}"),
                "name files of your own with http.cert_file and http.key_file",
            )
        })?;
        match self.keep(&cert, &made, &key, &private) {
            Ok(()) => {
                tracing::info!(file = %cert.display(), "a certificate for the management service was made");
            }
            // A full disk is no reason not to serve; the next start makes another.
            Err(error) => {
                tracing::warn!(file = %cert.display(), %error, "the certificate of the management service cannot be kept");
            }
        }
        build((&cert, &made), (&key, &private))
    }

    /// Whom it is for: names first, then addresses.
    fn names(&self) -> Vec<String> {
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let is_name = |name: &str| {
            name.split('.').all(|part| !part.is_empty())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        };
        if is_name(&self.host) {
            names.push(self.host.clone());
        }
        let ip = self.address.ip();
        if !ip.is_unspecified() {
            names.push(ip.to_string());
        }
        names.sort();
        names.dedup();
        names
    }

    fn keep(&self, cert: &Path, made: &str, key: &Path, private: &str) -> io::Result<()> {
        let folder = self.data_dir.join(FOLDER);
        if !folder.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        // The key first: a crash between the two leaves a pair that does not fit, and is made again.
        files::replace_secret(key, private)?;
        files::replace_secret(cert, made)
    }
}

/// A certificate for `names` with its note, and its key, both PEM.
fn make(names: &[String]) -> io::Result<(String, String)> {
    let now = wall::seconds();
    let ends = now + CERTIFICATE_DAYS * DAY;
    let mut params = CertificateParams::new(names.to_vec()).map_err(io::Error::other)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "tidings");
    params.not_before = date(now.saturating_sub(EARLIER));
    params.not_after = date(ends);
    let pair = KeyPair::generate().map_err(io::Error::other)?;
    let made = params.self_signed(&pair).map_err(io::Error::other)?;
    let text = format!("{}\n{}", note(ends, names), made.pem());
    Ok((text, pair.serialize_pem()))
}

fn note(ends: u64, names: &[String]) -> String {
    format!("{NOTE} until {ends} for {}", names.join(" "))
}

/// Whether the certificate below the note in `text` is for `names` and still valid at `at`.
fn is_good(text: &str, names: &[String], at: u64) -> bool {
    let line = text.lines().next().unwrap_or_default();
    let ends = line.split(' ').nth(2).and_then(|ends| ends.parse().ok());
    ends.is_some_and(|ends: u64| at < ends && line == note(ends, names))
}

fn date(seconds: u64) -> time::OffsetDateTime {
    // Past the year 9999 there is none, and no clock that says so is right.
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

/// Reads a certificate with what leads to its issuer, and its key.
pub fn read(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let text = open(cert).map_err(|error| {
        CertificateError::new(cert, format!("cannot be read: {error}"), "check the path")
    })?;
    let secret = files::read_secret(key).map_err(|error| {
        let remedy = match &error {
            SecretFileError::Io(_) => "check the path and the rights".to_owned(),
            other => other.remedy(key),
        };
        CertificateError::new(key, error.to_string(), remedy)
    })?;
    build((cert, &text), (key, &secret))
}

/// What the PEM texts of a certificate and its key are; the paths are for messages.
fn build(
    (cert, text): (&Path, &str),
    (key, secret): (&Path, &str),
) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|error| {
        CertificateError::new(cert, format!("is not PEM: {error}"), "write it in PEM")
    })?;
    if chain.is_empty() {
        let remedy = "it has to begin with -----BEGIN CERTIFICATE-----";
        return Err(CertificateError::new(cert, "holds no certificate", remedy));
    }
    let private = PrivateKeyDer::from_pem_slice(secret.as_bytes()).map_err(|error| {
        let remedy = "write the private key in PEM, without a passphrase";
        CertificateError::new(key, format!("holds no private key: {error}"), remedy)
    })?;
    config(chain, private).map_err(|error| {
        let remedy = "use a certificate and the private key that it was made for";
        CertificateError::new(cert, format!("does not fit its key: {error}"), remedy)
    })
}

fn open(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    file.take(PEM_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn source(dir: &Path) -> Source {
        Source {
            tls: HttpTls::SelfMade,
            data_dir: dir.to_owned(),
            address: "0.0.0.0:1".parse().unwrap(),
            host: "host-a".to_owned(),
        }
    }

    #[test]
    fn a_self_made_certificate_is_kept_until_it_ends_or_is_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = source(dir.path());
        source.load().unwrap().expect("one");
        let text = || fs::read_to_string(source.path()).unwrap();
        let first = text();
        let key = source.path().with_file_name("key.pem");
        let mode = fs::metadata(&key).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        source.load().unwrap();
        assert_eq!(text(), first);
        let (now, names) = (wall::seconds(), source.names());
        assert!(is_good(&first, &names, now + 364 * DAY));
        assert!(!is_good(&first, &names, now + 366 * DAY));
        source.host = "host-b".to_owned();
        assert!(!is_good(&first, &source.names(), now));
        source.load().unwrap();
        let second = fs::read_to_string(source.path()).unwrap();
        assert_ne!(second, first);
        fs::write(&key, "of another").unwrap();
        source.load().unwrap();
        assert_ne!(fs::read_to_string(source.path()).unwrap(), second);
    }

    #[test]
    fn a_certificate_that_cannot_be_kept_serves_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        // No folder can be made where a file is.
        fs::write(dir.path().join(FOLDER), "").unwrap();
        assert!(source(dir.path()).load().unwrap().is_some());
    }

    #[test]
    fn files_that_are_no_pair_are_told_with_their_remedy() {
        let [one, two] = [(); 2].map(|()| {
            let dir = tempfile::tempdir().unwrap();
            source(dir.path()).load().unwrap();
            dir
        });
        let file = |dir: &tempfile::TempDir, name: &str| dir.path().join("http").join(name);
        let (cert, key) = (file(&one, "cert.pem"), file(&one, "key.pem"));
        read(&cert, &key).unwrap();
        for (cert, key, wanted) in [
            (&cert, &file(&two, "key.pem"), "does not fit its key"),
            (&key, &key, "holds no certificate"),
            (&cert, &cert, "holds no private key"),
            (&cert, &file(&one, "nothing"), "cannot be read"),
            (&file(&one, ""), &key, "cannot be read"),
        ] {
            let error = read(cert, key).expect_err("refused");
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(!error.remedy.is_empty());
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read(&cert, &key).expect_err("others may read it");
        assert!(error.remedy.starts_with("chmod 600"), "{error}");
    }
}
