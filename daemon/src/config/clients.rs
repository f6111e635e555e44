//! The client file: which clients may attach by name, with which secret, and what each may do.

use std::collections::BTreeSet;
use std::path::Path;

use tidings_wire::client::key::SECRET_SIZE;
use tidings_wire::client::valid_client_name;
use tidings_wire::{validate_pattern, validate_topic};

use super::problem::{Given, Origin, Problem, Problems};
use super::read::{Document, Section};
use crate::files;

/// One client of the file.
#[derive(Clone, PartialEq)]
pub struct ClientGrant {
    /// Its name.
    pub name: String,
    /// Its secret; never shown.
    pub secret: [u8; SECRET_SIZE],
    /// Overlays that it may use; `*` = all.
    pub overlays: Vec<String>,
    /// Patterns of topics that it may publish on.
    pub publish: Vec<String>,
    /// Patterns that it may subscribe to, or narrower ones.
    pub subscribe: Vec<String>,
}

/// Reads a client file. Its mode must keep it from everybody but its owner.
pub fn read_clients(path: &Path) -> Result<Vec<ClientGrant>, Problems> {
    let source = path.display().to_string();
    let text = files::read_secret(path).map_err(|error| {
        Problems(vec![Problem {
            origin: Origin {
                source: source.as_str().into(),
                line: 0,
                key: "clients_file".to_owned(),
            },
            value: String::new(),
            wrong: error.to_string(),
            remedy: error.remedy(path),
        }])
    })?;
    parse_clients(&source, &text, path.parent().unwrap_or(Path::new("")))
}

pub(super) fn parse_clients(
    source: &str,
    text: &str,
    base: &Path,
) -> Result<Vec<ClientGrant>, Problems> {
    let document = Document::new(source, text);
    let mut problems = Problems::default();
    let Some(table) = document.parse(&mut problems) else {
        return Err(problems);
    };
    let mut clients = Vec::new();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut root = document.section("", table.get_ref(), &mut problems);
    let mut tables = root.tables("client");
    while let Some(mut section) = tables.next() {
        let client = read_client(&mut section, base, &mut wrong);
        section.finish();
        if let Some((client, name)) = client {
            if !names.insert(client.name.clone()) {
                let remedy = "give each client a name of its own";
                wrong.push(Problem::new(&name, &client.name, "is there twice", remedy));
            }
            clients.push(client);
        }
    }
    root.finish();
    problems.0.extend(wrong);
    problems.or(clients)
}

fn read_client(
    section: &mut Section<'_>,
    base: &Path,
    wrong: &mut Vec<Problem>,
) -> Option<(ClientGrant, Given<String>)> {
    let name_origin = section.origin_of("name");
    let name = section.text("name");
    let secret = read_secret(section, base, wrong);
    let overlays = section
        .texts("overlays")
        .map(|given| given.value)
        .unwrap_or_default();
    let publish = patterns(section.texts("publish"), wrong);
    let subscribe = patterns(section.texts("subscribe"), wrong);
    let Some(name) = name else {
        wrong.push(Problem {
            origin: name_origin,
            value: String::new(),
            wrong: "a [[client]] has no name".to_owned(),
            remedy: "add name = \"...\"".to_owned(),
        });
        return None;
    };
    if !valid_client_name(&name.value) {
        let remedy = "use 1 to 64 of a-z A-Z 0-9 . _ -";
        wrong.push(Problem::new(
            &name,
            format!("{:?}", name.value),
            "is not a client name",
            remedy,
        ));
        return None;
    }
    let client = ClientGrant {
        name: name.value.clone(),
        secret: secret?,
        overlays,
        publish,
        subscribe,
    };
    Some((client, name))
}

fn read_secret(
    section: &mut Section<'_>,
    base: &Path,
    wrong: &mut Vec<Problem>,
) -> Option<[u8; SECRET_SIZE]> {
    let origin = section.origin_of("secret");
    let (given, text) = match (section.text("secret"), section.text("secret_file")) {
        (Some(given), None) => (given.clone(), given.value),
        (None, Some(given)) => {
            let path = base.join(&given.value);
            match files::read_secret(&path) {
                Ok(text) => (given, text),
                Err(error) => {
                    wrong.push(Problem::new(
                        &given,
                        format!("{:?}", given.value),
                        error.to_string(),
                        error.remedy(&path),
                    ));
                    return None;
                }
            }
        }
        _ => {
            wrong.push(Problem {
                origin,
                value: String::new(),
                wrong: "a [[client]] needs one of secret and secret_file".to_owned(),
                remedy: "`tidings keygen --client NAME FILE` makes a secret and prints the entry"
                    .to_owned(),
            });
            return None;
        }
    };
    let secret = files::parse_secret(&text);
    if secret.is_none() {
        let remedy = "write 64 hex digits; `tidings keygen --client NAME FILE` makes them";
        wrong.push(Problem::new(
            &given,
            "(not shown)",
            "is not a secret",
            remedy,
        ));
    }
    secret
}

fn patterns(given: Option<Given<Vec<String>>>, wrong: &mut Vec<Problem>) -> Vec<String> {
    let Some(given) = given else {
        return Vec::new();
    };
    for pattern in &given.value {
        if validate_pattern(pattern).is_err() && validate_topic(pattern).is_err() {
            let remedy = "write a topic, a prefix as \"orders.*\", or \"*\"";
            wrong.push(Problem::new(
                &given,
                format!("{pattern:?}"),
                "is not a pattern",
                remedy,
            ));
        }
    }
    given.value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_with_secret_and_rights() {
        let text = format!(
            "[[client]]\nname = \"worker\"\nsecret = \"{}\"\noverlays = [\"demo\"]\npublish = [\"a.*\"]\nsubscribe = \"*\"\n",
            "5a".repeat(32)
        );
        let clients = parse_clients("clients.toml", &text, Path::new(""))
            .unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(clients[0].name, "worker");
        assert_eq!(clients[0].secret, [0x5a; 32]);
        assert_eq!(clients[0].subscribe, ["*"]);
    }

    #[test]
    fn mistakes_never_show_the_secret() {
        let text =
            "[[client]]\nname = \"w\"\nsecret = \"5a5a\"\npublish = [\"a..b\"]\nsubscribed = []\n";
        let problems = parse_clients("clients.toml", text, Path::new(""))
            .err()
            .expect("mistakes")
            .to_string();
        assert_eq!(problems.matches("error: ").count(), 3, "{problems}");
        assert!(!problems.contains("5a5a"), "{problems}");
        assert!(problems.contains("did you mean subscribe?"), "{problems}");
    }

    #[test]
    fn a_client_without_name_or_secret_is_told_with_its_line() {
        let secret = "5a".repeat(32);
        let text =
            format!("# clients\n\n[[client]]\nsecret = \"{secret}\"\n[[client]]\nname = \"w\"\n");
        let problems = parse_clients("clients.toml", &text, Path::new(""))
            .err()
            .expect("mistakes")
            .to_string();
        for wanted in [
            "clients.toml:3: client.name: a [[client]] has no name",
            "clients.toml:5: client.secret: a [[client]] needs one of secret and secret_file",
        ] {
            assert!(problems.contains(wanted), "{problems}");
        }
    }
}
