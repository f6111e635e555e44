//! InfluxDB as a destination: paths and credentials of its versions 1 and 2, and whom to trust as it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{InfluxSettings, InfluxTarget};
use crate::files;

/// Where systems keep the authorities that they trust: Debian, Fedora, SUSE, Alpine.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A file that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// Which.
    pub path: PathBuf,
    /// What is wrong.
    pub wrong: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unusable {
    fn new(path: &Path, wrong: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            wrong: wrong.into(),
            remedy: remedy.into(),
        }
    }
}

/// Looks at everything that the settings name.
pub fn check(settings: &InfluxSettings) -> Result<(), Unusable> {
    credentials(settings)?;
    trust(settings).map(|_| ())
}

/// The header that says who writes; none if nobody is to be named. Reads its file: a secret that was replaced holds from the next request on.
pub fn credentials(settings: &InfluxSettings) -> Result<Option<HeaderValue>, Unusable> {
    let (path, before) = match &settings.target {
        InfluxTarget::V1 { login: None, .. } => return Ok(None),
        InfluxTarget::V1 {
            login: Some((user, path)),
            ..
        } => (path, Some(user)),
        InfluxTarget::V2 { token_file, .. } => (token_file, None),
    };
    let secret = files::read_secret(path)
        .map_err(|error| Unusable::new(path, error.to_string(), error.remedy(path)))?;
    let secret = secret.trim();
    let text = match before {
        Some(user) => format!("Basic {}", STANDARD.encode(format!("{user}:{secret}"))),
        None => format!("Token {secret}"),
    };
    let header = HeaderValue::from_str(&text).ok();
    let header = header.filter(|_| !secret.is_empty()).map(|mut header| {
        header.set_sensitive(true);
        header
    });
    let wrong = || {
        Unusable::new(
            path,
            "is not one line of text",
            "write the secret into it, and nothing else",
        )
    };
    header.ok_or_else(wrong).map(Some)
}

/// The request that writes these points.
pub fn request(
    settings: &InfluxSettings,
    credentials: Option<HeaderValue>,
    points: Vec<u8>,
) -> axum::http::Result<Request<Body>> {
    let InfluxSettings {
        authority, prefix, ..
    } = settings;
    let path = match &settings.target {
        InfluxTarget::V1 { database, .. } => format!("{prefix}/write?db={}", coded(database)),
        InfluxTarget::V2 { org, bucket, .. } => {
            let (org, bucket) = (coded(org), coded(bucket));
            format!("{prefix}/api/v2/write?org={org}&bucket={bucket}")
        }
    };
    let mut request = Request::post(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8");
    if let Some(credentials) = credentials {
        request = request.header(AUTHORIZATION, credentials);
    }
    request.body(Body::from(points))
}

/// A text as part of a query.
fn coded(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// Whom to trust as the destination; none if it is asked in clear.
pub fn trust(settings: &InfluxSettings) -> Result<Option<Arc<ClientConfig>>, Unusable> {
    if !settings.is_sealed {
        return Ok(None);
    }
    let system = AUTHORITIES.iter().map(Path::new);
    let first = || system.clone().find(|path| path.is_file());
    let path = settings.ca_file.as_deref().or_else(first);
    let path = path.ok_or_else(|| {
        let remedy = "install ca-certificates, or name the authority of the destination with influxdb.ca_file";
        Unusable::new(Path::new(AUTHORITIES[0]), "is not there", remedy)
    })?;
    let remedy = "name a PEM file with the certificate of the destination's authority";
    let pem = fs::read(path)
        .map_err(|error| Unusable::new(path, format!("cannot be read: {error}"), remedy))?;
    let mut roots = RootCertStore::empty();
    // Of a system's many authorities some may be of kinds that are not known here.
    let found = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (taken, _) = roots.add_parsable_certificates(found);
    if taken == 0 {
        return Err(Unusable::new(path, "has no certificate in it", remedy));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Unusable::new(path, error.to_string(), remedy))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(target: InfluxTarget) -> InfluxSettings {
        InfluxSettings {
            is_sealed: false,
            authority: "h:8086".to_owned(),
            host: "h".to_owned(),
            port: 8086,
            prefix: "/influx".to_owned(),
            target,
            every: Duration::from_secs(10),
            queue: 1 << 20,
            ca_file: None,
        }
    }

    #[test]
    fn each_version_has_its_path_and_its_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        files::write_new_secret(&file, "s3cret\n").unwrap();
        let v1 = settings(InfluxTarget::V1 {
            database: "a&b c".to_owned(),
            login: Some(("u".to_owned(), file.clone())),
        });
        let v2 = settings(InfluxTarget::V2 {
            org: "o\u{fc}".to_owned(),
            bucket: "b/1".to_owned(),
            token_file: file.clone(),
        });
        for (settings, path, credentials_) in [
            (&v1, "/influx/write?db=a%26b%20c", "Basic dTpzM2NyZXQ="),
            (
                &v2,
                "/influx/api/v2/write?org=o%C3%BC&bucket=b%2F1",
                "Token s3cret",
            ),
        ] {
            let credentials = credentials(settings).unwrap();
            assert!(credentials.as_ref().is_some_and(HeaderValue::is_sensitive));
            let request = request(settings, credentials, b"x".to_vec()).unwrap();
            assert_eq!(request.uri().to_string(), path);
            assert_eq!(request.headers()[AUTHORIZATION], credentials_);
            assert_eq!(request.headers()[HOST], "h:8086");
        }
        // A secret that was replaced is the one that is sent.
        files::replace_secret(&file, "other").unwrap();
        assert_eq!(credentials(&v2).unwrap().unwrap(), "Token other");
        for bad in ["", "\n", "two\nlines"] {
            files::replace_secret(&file, bad).unwrap();
            assert!(
                check(&v2).unwrap_err().wrong.contains("one line"),
                "{bad:?}"
            );
        }
        fs::remove_file(&file).unwrap();
        assert!(check(&v1).is_err());
    }

    #[test]
    fn whom_to_trust_is_in_a_file_that_must_have_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let mut sealed = settings(InfluxTarget::V1 {
            database: "d".to_owned(),
            login: None,
        });
        assert!(trust(&sealed).unwrap().is_none());
        (sealed.is_sealed, sealed.ca_file) = (true, Some(file.clone()));
        assert!(trust(&sealed).unwrap_err().wrong.contains("cannot be read"));
        fs::write(&file, "no PEM").unwrap();
        let error = trust(&sealed).unwrap_err();
        assert_eq!(
            (error.path, error.wrong.as_str()),
            (file.clone(), "has no certificate in it")
        );
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["h".to_owned()]).unwrap();
        fs::write(&file, made.self_signed(&key).unwrap().pem()).unwrap();
        assert!(trust(&sealed).unwrap().is_some());
    }
}
