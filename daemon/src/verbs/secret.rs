//! Secrets that the node makes and tells once: to standard output, or into a file that nobody else may read.

use std::path::Path;

use axum::http::Method;
use serde_json::Value;

use super::manage::Manage;
use crate::args::{Format, ManageArgs};
use crate::files;
use crate::output::{Failure, json, line};

/// A secret that is asked for.
pub struct Wanted<'a> {
    /// What it is for, in words: a token, a client.
    pub what: &'static str,
    /// Its name.
    pub name: &'a str,
    /// How to write it.
    pub format: Format,
    /// The new file that it shall go to; `None`: it is told.
    pub file: Option<&'a Path>,
}

/// Has a secret made and tells it.
pub fn make(
    manage: &ManageArgs,
    at: &str,
    body: &Value,
    wanted: &Wanted<'_>,
) -> Result<(), Failure> {
    if let Some(file) = wanted.file {
        // Before there is a secret that could be written nowhere.
        refuse_existing(file)?;
    }
    let mut made = Manage::of(manage).ask(Method::POST, at, Some(body))?;
    let secret = made.get("secret").and_then(Value::as_str).unwrap_or("");
    let (what, name) = (wanted.what, wanted.name);
    let Some(file) = wanted.file else {
        return match wanted.format {
            Format::Json => json(&made),
            Format::Text => line(secret),
        };
    };
    files::write_new_secret(file, &format!("{secret}\n")).map_err(|error| {
        Failure::Failed(format!(
            "the secret of the {what} {name} was made, but cannot be written to {}: {error}\n  remedy: rotate it, with another --file",
            file.display()
        ))
    })?;
    match wanted.format {
        Format::Json => {
            made["secret"] = Value::Null;
            json(&made)
        }
        Format::Text => line(format_args!(
            "{} holds the secret of the {what} {name}",
            file.display()
        )),
    }
}

fn refuse_existing(file: &Path) -> Result<(), Failure> {
    match file.symlink_metadata() {
        Err(_) => Ok(()),
        Ok(_) => Err(Failure::Usage(format!(
            "error: --file {}: there is one already\n  remedy: name a new file",
            file.display()
        ))),
    }
}
