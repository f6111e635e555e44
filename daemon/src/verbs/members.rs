//! `tidings members`: who is there, once or for as long as one looks.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidings_client::{Client, Event, PresenceEvent, Question};

use super::attach::attach;
use super::read::{ask, cell};
use crate::args::{Format, MembersArgs};
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn members(args: MembersArgs) -> Result<(), Failure> {
    let mut client = attach(&args.client)?;
    if args.watch {
        return watch(&mut client, &args);
    }
    let answer = ask(&mut client, Question::Members, &args.overlay)?;
    match args.format {
        Format::Json => json(&answer),
        Format::Text => line(table(&answer)),
    }
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "ADDRESS", "RACK", "ID", ""]);
    for member in answer.as_array().into_iter().flatten() {
        let cell = |key: &str| cell(member.get(key));
        let is = |key: &str| member.get(key).and_then(Value::as_bool) == Some(true);
        let note = match (is("self"), is("reached")) {
            (true, _) => "this node",
            (false, true) => "",
            (false, false) => "known by relay only",
        };
        table.row([
            cell("name"),
            cell("state"),
            cell("address"),
            cell("rack"),
            cell("id"),
            note.to_owned(),
        ]);
    }
    table
}

fn watch(client: &mut Client, args: &MembersArgs) -> Result<(), Failure> {
    client.watch(&args.overlay).map_err(Failure::new)?;
    loop {
        match client.next(None).map_err(Failure::new)? {
            Some(Event::Presence(presence)) => tell(&presence, args.format)?,
            Some(Event::Refused { text, .. }) => return Err(Failure::Failed(text)),
            Some(Event::Lost { why }) => eprintln!("the daemon is lost: {why}; attaching again"),
            Some(Event::Attached(attached)) => eprintln!("attached to {} again", attached.name),
            _ => {}
        }
    }
}

fn tell(presence: &PresenceEvent<'_>, format: Format) -> Result<(), Failure> {
    let address = presence.address.map(|address| address.to_string());
    if format == Format::Text {
        let address = address.unwrap_or("-".to_owned());
        let note = if presence.this_node {
            "  this node"
        } else {
            ""
        };
        return line(format_args!(
            "{}  {:<18}  {}  {address}  {}{note}",
            utc_time(),
            presence.change.name(),
            presence.name,
            presence.node
        ));
    }
    line(json!({
        "event": presence.change.name(),
        "snapshot": presence.snapshot,
        "self": presence.this_node,
        "reached": presence.reached,
        "name": presence.name,
        "id": presence.node.to_string(),
        "address": address,
        "metadata": metadata(presence.metadata),
    }))
}

/// `key=value` lines as an object.
fn metadata(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Value::Object(
        pairs
            .map(|(key, value)| (key.to_owned(), Value::from(value)))
            .collect(),
    )
}

/// The time of day, UTC.
fn utc_time() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    format!(
        "{:02}:{:02}:{:02}Z",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_shown_with_what_is_remarkable() {
        let answer = json!([
            { "name": "a", "state": "alive", "address": "10.0.0.1:7400", "rack": "", "id": "00", "self": true },
            { "name": "b", "state": "dead", "address": "10.0.0.2:7400", "rack": "r", "id": "01", "reached": false },
        ]);
        assert_eq!(
            table(&answer).to_string(),
            "NAME  STATE  ADDRESS        RACK  ID\n\
             a     alive  10.0.0.1:7400  -     00  this node\n\
             b     dead   10.0.0.2:7400  r     01  known by relay only"
        );
    }

    #[test]
    fn metadata_is_an_object() {
        assert_eq!(
            metadata(b"zone=a\nrole=x=y\n"),
            json!({ "zone": "a", "role": "x=y" })
        );
    }
}
