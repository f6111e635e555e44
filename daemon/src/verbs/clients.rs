//! `tidings clients`: who may attach to a running node by name and secret.

use axum::http::Method;
use serde_json::{Value, json};

use super::manage::{Manage, path};
use super::read::cell;
use super::secret::{self, Wanted};
use crate::args::{
    AddClientArgs, ClientsArgs, ClientsVerb, Format, ManageReadArgs, NamedClientArgs,
    RotateClientArgs,
};
use crate::output::{Failure, Table, json, line};

/// Runs the verb.
pub fn clients(args: ClientsArgs) -> Result<(), Failure> {
    match args.verb {
        ClientsVerb::List(args) => list(&args),
        ClientsVerb::Add(args) => add(&args),
        ClientsVerb::Remove(args) => remove(&args),
        ClientsVerb::Rotate(args) => rotate(&args),
    }
}

fn list(args: &ManageReadArgs) -> Result<(), Failure> {
    let clients = Manage::of(&args.manage).get("/v1/clients")?;
    if args.format == Format::Json {
        return json(&clients);
    }
    let mut table = Table::new(&["NAME", "OVERLAYS", "PUBLISH", "SUBSCRIBE", "KEPT IN"]);
    for client in clients.as_array().into_iter().flatten() {
        let texts = |key: &str| {
            let texts = client.get(key).and_then(Value::as_array);
            let texts = texts.into_iter().flatten().filter_map(Value::as_str);
            texts.collect::<Vec<_>>().join(" ")
        };
        let kept = match client.get("in_file") == Some(&Value::Bool(true)) {
            true => "client file",
            false => "state",
        };
        table.row([
            cell(client.get("name")),
            texts("overlays"),
            texts("publish"),
            texts("subscribe"),
            kept.to_owned(),
        ]);
    }
    line(table)
}

fn add(args: &AddClientArgs) -> Result<(), Failure> {
    let body = json!({
        "name": args.client.name,
        "overlays": args.overlay,
        "publish": args.publish,
        "subscribe": args.subscribe,
    });
    let wanted = wanted(&args.client, args.file.as_deref());
    secret::make(&args.client.manage, "/v1/clients", &body, &wanted)
}

fn rotate(args: &RotateClientArgs) -> Result<(), Failure> {
    let at = path(&["v1", "clients", &args.client.name, "rotate"]);
    let wanted = wanted(&args.client, args.file.as_deref());
    secret::make(&args.client.manage, &at, &json!({}), &wanted)
}

fn wanted<'a>(client: &'a NamedClientArgs, file: Option<&'a std::path::Path>) -> Wanted<'a> {
    Wanted {
        what: "client",
        name: &client.name,
        format: client.format,
        file,
    }
}

fn remove(args: &NamedClientArgs) -> Result<(), Failure> {
    let at = path(&["v1", "clients", &args.name]);
    Manage::of(&args.manage).ask(Method::DELETE, &at, None)?;
    match args.format {
        Format::Json => json(&json!({ "removed": args.name })),
        Format::Text => line(format_args!("the client {} may attach no more", args.name)),
    }
}
