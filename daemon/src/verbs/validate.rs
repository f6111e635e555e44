//! `tidings validate`: what `run` would say about a configuration, without running.

use serde_json::json;

use crate::args::{Format, RunArgs, ValidateArgs};
use crate::config::{HttpTls, Key, Settings, units};
use crate::load::{Loaded, load};
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn validate(args: ValidateArgs) -> Result<(), Failure> {
    let run = RunArgs {
        config: Some(args.file.clone()),
        ..RunArgs::default()
    };
    match (load(&run), args.format) {
        (Ok(loaded), Format::Text) => line(format_args!(
            "{} is valid.\n{}",
            args.file.display(),
            describe(&loaded)
        )),
        (Ok(loaded), Format::Json) => json(&as_json(&loaded.settings)),
        (Err(problems), Format::Text) => Err(Failure::Usage(problems.to_string())),
        (Err(problems), Format::Json) => {
            let problem = |problem: &crate::config::Problem| {
                json!({
                    "file": &*problem.origin.source,
                    "line": problem.origin.line,
                    "key": problem.origin.key,
                    "value": problem.value,
                    "problem": problem.wrong,
                    "remedy": problem.remedy,
                })
            };
            json(
                &json!({ "valid": false, "problems": problems.0.iter().map(problem).collect::<Vec<_>>() }),
            )?;
            Err(Failure::Usage(format!(
                "error: {} is not valid",
                args.file.display()
            )))
        }
    }
}

fn describe(loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    let mut table = Table::new(&[
        "OVERLAY",
        "KEY",
        "JOIN",
        "MAX MESSAGE",
        "STORE",
        "REDELIVERY",
    ]);
    for overlay in &settings.overlays {
        let key = match &overlay.key {
            Key::File(path) => path.display().to_string(),
            Key::Generated(path) if path.exists() => path.display().to_string(),
            Key::Generated(path) => format!("{} (made at the first start)", path.display()),
            Key::Kept => overlay.key.to_string(),
        };
        let every = units::show_duration(overlay.every);
        table.row([
            overlay.name.clone(),
            key,
            if overlay.join.is_empty() {
                "-".to_owned()
            } else {
                overlay.join_text()
            },
            units::show_size(overlay.max_message as u64),
            units::show_size(overlay.retain as u64),
            match overlay.attempts {
                0 => format!("without end, every {every}"),
                attempts => format!("{attempts} attempts, every {every}"),
            },
        ]);
    }
    format!(
        "node {} binds {}, keeps its state in {}\nclients attach at {}; {} may attach by name\nmanagement is at {}\n\n{table}",
        settings.node.name,
        settings.node.bind,
        settings.node.data_dir.display(),
        settings.socket.display(),
        loaded.clients.len(),
        management(settings),
    )
}

/// Where the management service is, and under which certificate.
fn management(settings: &Settings) -> String {
    let http = &settings.http;
    let socket = http.socket.display();
    let wanted = settings.node.bind;
    let Some(address) = http.bind.address(wanted, wanted.port()) else {
        return socket.to_string();
    };
    match &http.tls {
        HttpTls::Off => format!("http://{address}, {socket}"),
        HttpTls::SelfMade => {
            format!("https://{address} under a certificate of its own, {socket}")
        }
        HttpTls::Files { cert, .. } => {
            format!("https://{address} under {}, {socket}", cert.display())
        }
    }
}

fn as_json(settings: &Settings) -> serde_json::Value {
    let overlays: Vec<_> = settings
        .overlays
        .iter()
        .map(|overlay| {
            json!({
                "name": overlay.name,
                "key_file": overlay.key.path(),
                "join": overlay.join.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "discovery": overlay.discovery.name(),
                "max_message": overlay.max_message,
                "max_datagram": overlay.max_datagram,
                "retain": overlay.retain,
                "attempts": overlay.attempts,
                "every_ms": overlay.every.as_millis() as u64,
            })
        })
        .collect();
    let bind = settings.node.bind;
    let http = &settings.http;
    let cert_file = match &http.tls {
        HttpTls::Files { cert, .. } => Some(cert),
        HttpTls::SelfMade | HttpTls::Off => None,
    };
    json!({
        "http": {
            "bind": http.bind.address(bind, bind.port()),
            "tls": http.tls != HttpTls::Off,
            "cert_file": cert_file,
            "socket": http.socket,
            "metrics_open": http.metrics_open,
        },
        "valid": true,
        "name": settings.node.name,
        "bind": settings.node.bind,
        "advertise": settings.node.advertise,
        "data_dir": settings.node.data_dir,
        "shards": settings.node.shards,
        "socket": settings.socket,
        "overlays": overlays,
    })
}
