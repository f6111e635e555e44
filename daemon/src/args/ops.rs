//! Flags of the verbs that operate a running node.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ClientArgs, Format, ReadArgs, RunArgs, SuiteName};

/// How the management service is reached: over its Unix socket, as the daemon's own user.
#[derive(Args, Debug, Clone, Default)]
pub struct ManageArgs {
    /// The daemon's socket; the management service's is beside it [default: $TIDINGS_SOCKET or the user's runtime directory].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The management service's own socket, where the configuration has moved it (http.socket).
    #[arg(long, value_name = "PATH")]
    pub http_socket: Option<PathBuf>,
}

/// Flags of verbs that ask the management service and need nothing else.
#[derive(Args, Debug)]
pub struct ManageReadArgs {
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Show this overlay alone.
    pub overlay: Option<String>,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub every: f64,
    /// Write it once, as text, instead of a screen. Without a terminal that is what happens.
    #[arg(long)]
    pub once: bool,
    /// Write it once, in this form.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// How to attach.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `reach`: those of the node, which say the overlay and its key, and its own.
#[derive(Args, Debug)]
pub struct ReachArgs {
    /// Addresses: ip, ip:port, host, host:port, `[v6]:port` or srv+name [default: the members that the running node lists].
    #[arg(value_name = "ADDR")]
    pub addresses: Vec<String>,
    /// The node.
    #[command(flatten)]
    pub run: RunArgs,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Flags of `rtt`.
#[derive(Args, Debug)]
pub struct RttArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Only this member: its name, or at least 8 digits of its id.
    pub member: Option<String>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to attach.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// Flags of `trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Topic of the message.
    pub topic: String,
    /// Name of the overlay.
    #[arg(long)]
    pub overlay: String,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Verbs of `debug`.
#[derive(Args, Debug)]
pub struct DebugArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: DebugVerb,
}

/// Verbs of `debug`.
#[derive(Subcommand, Debug)]
pub enum DebugVerb {
    /// Write configuration, state, checks, counters and log of a node into an archive, without secrets.
    Bundle(BundleArgs),
}

/// Flags of `debug bundle`: those of the node, and its own.
#[derive(Args, Debug)]
pub struct BundleArgs {
    /// The node.
    #[command(flatten)]
    pub run: RunArgs,
    /// File to make [default: tidings-debug-SECONDS.tar.gz in the working directory].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Log of the node, of which the end is taken [default: what the journal has of it].
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Flags of `drain`.
#[derive(Args, Debug)]
pub struct DrainArgs {
    /// How long at most to wait until what is owed is confirmed.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub deadline: String,
    /// Return when the drain has begun, not when the node has stopped.
    #[arg(long)]
    pub no_wait: bool,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `overlays`: without a verb it lists them.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct OverlaysArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: Option<OverlaysVerb>,
    /// Flags of the listing.
    #[command(flatten)]
    pub list: ReadArgs,
}

/// Verbs of `overlays`.
#[derive(Subcommand, Debug)]
pub enum OverlaysVerb {
    /// Make an overlay and start it; it outlives a restart of the node.
    Create(CreateOverlayArgs),
    /// Show an overlay with all its options.
    Show(NamedOverlayArgs),
    /// Change options of an overlay; they hold at once.
    Change(ChangeOverlayArgs),
    /// Leave an overlay gracefully and forget it, with its tokens and its key.
    Remove(NamedOverlayArgs),
}

/// Flags of `overlays create`.
#[derive(Args, Debug)]
pub struct CreateOverlayArgs {
    /// Name of the overlay: members of one overlay use the same name and key.
    pub overlay: String,
    /// Options that differ from the defaults, named as in the configuration file: retain=128MiB, redelivery.attempts=3.
    #[arg(value_name = "OPTION=VALUE")]
    pub options: Vec<String>,
    /// Keyring of the overlay, made by `tidings keygen` [default: the node makes a key of its own].
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Cipher of a key that the node makes [default: aes-256-gcm].
    #[arg(long, value_enum, conflicts_with = "key_file")]
    pub suite: Option<SuiteName>,
    /// Address of a member to join through: ip, ip:port, host, host:port, `[v6]:port` or srv+name.
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    pub join: Vec<String>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of verbs about one overlay.
#[derive(Args, Debug)]
pub struct NamedOverlayArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `overlays change`.
#[derive(Args, Debug)]
pub struct ChangeOverlayArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Options, named as in the configuration file: retain=128MiB. Without a value (retain=) an option is taken back to what the
    /// configuration file or the default says.
    #[arg(value_name = "OPTION=VALUE")]
    pub options: Vec<String>,
    /// Addresses of members to join through, instead of those that there are.
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    pub join: Vec<String>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Verbs of `tokens`.
#[derive(Args, Debug)]
pub struct TokensArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: TokensVerb,
}

/// Verbs of `tokens`.
#[derive(Subcommand, Debug)]
pub enum TokensVerb {
    /// Show the tokens of an overlay, without their secrets.
    List(NamedOverlayArgs),
    /// Make a token and tell its secret, once.
    Add(AddTokenArgs),
    /// Replace the secret of a token and tell the new one, once.
    Rotate(RotateTokenArgs),
    /// End a token.
    Remove(NamedTokenArgs),
}

/// Flags of `tokens add`.
#[derive(Args, Debug)]
pub struct AddTokenArgs {
    /// The token.
    #[command(flatten)]
    pub token: NamedTokenArgs,
    /// For how long it is valid, as 30d [default: until it is removed].
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// File to make with the secret, mode 0600 [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Flags of `tokens rotate`.
#[derive(Args, Debug)]
pub struct RotateTokenArgs {
    /// The token.
    #[command(flatten)]
    pub token: NamedTokenArgs,
    /// For how long the old secret stays valid, as 1h [default: it ends at once].
    #[arg(long, value_name = "TIME")]
    pub grace: Option<String>,
    /// File to make with the secret, mode 0600 [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// A token of an overlay.
#[derive(Args, Debug)]
pub struct NamedTokenArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Name of the token.
    pub name: String,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `keys`.
#[derive(Args, Debug)]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: KeysVerb,
}

/// Verbs of `keys`.
#[derive(Subcommand, Debug)]
pub enum KeysVerb {
    /// List the keys of this node: slot, cipher, fingerprint. The keys themselves are never shown.
    List(NamedOverlayArgs),
    /// Show which members have which keys, and who holds up a rotation: exit code 1 if anybody lacks a key of this node, seals with
    /// another, or still talks with it under an old one.
    Status(NamedOverlayArgs),
    /// Add the keys of a file: they open from now on, and seal nothing yet.
    Install(InstallKeysArgs),
    /// Make a key the one that seals. Refused while members lack it, those that are held dead included.
    Use(KeyArgs),
    /// Drop a key. Refused while it is in use, or a member that is held dead lacks the one that seals.
    Remove(KeyArgs),
    /// Change over to the keys of a file: install, wait for all members, use, wait for all links, remove the others. Run it with the
    /// same file on every host; if it is interrupted, run it again.
    Rotate(RotateKeysArgs),
}

/// Flags of `keys install`.
#[derive(Args, Debug)]
pub struct InstallKeysArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Keyring file, made by `tidings keygen FILE --slot N` with a slot that is free; `-` reads standard input.
    pub file: PathBuf,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `keys use` and `keys remove`.
#[derive(Args, Debug)]
pub struct KeyArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Slot of the key.
    #[arg(value_parser = clap::value_parser!(u8).range(0..8))]
    pub slot: u8,
    /// Do it though members lack the key that shall seal, or depend on the one that shall go.
    #[arg(long)]
    pub force: bool,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `keys rotate`.
#[derive(Args, Debug)]
pub struct RotateKeysArgs {
    /// Name of the overlay.
    pub overlay: String,
    /// Keyring file with the new key, made once by `tidings keygen FILE --slot N` and brought to every host.
    pub file: PathBuf,
    /// How long to wait for members that lag behind, each time, as 90s, 10m or 1h.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub timeout: String,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `clients`.
#[derive(Args, Debug)]
pub struct ClientsArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: ClientsVerb,
}

/// Verbs of `clients`.
#[derive(Subcommand, Debug)]
pub enum ClientsVerb {
    /// List the clients that may attach by name, and what each may do.
    List(ManageReadArgs),
    /// Add a client; its secret is made here and told once.
    Add(AddClientArgs),
    /// Remove a client; its session ends.
    Remove(NamedClientArgs),
    /// Give a client another secret; a session under the old one ends.
    Rotate(RotateClientArgs),
}

/// Which client.
#[derive(Args, Debug)]
pub struct NamedClientArgs {
    /// Name of the client.
    pub name: String,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How to reach the node.
    #[command(flatten)]
    pub manage: ManageArgs,
}

/// Flags of `clients add`.
#[derive(Args, Debug)]
pub struct AddClientArgs {
    /// Which.
    #[command(flatten)]
    pub client: NamedClientArgs,
    /// Overlay that it may use; `*` stands for all. May be given several times.
    #[arg(long, value_name = "NAME", required = true)]
    pub overlay: Vec<String>,
    /// Pattern of topics that it may publish on. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub publish: Vec<String>,
    /// Pattern that it may subscribe to. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub subscribe: Vec<String>,
    /// Put the secret into this new file, mode 0600, instead of telling it.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Flags of `clients rotate`.
#[derive(Args, Debug)]
pub struct RotateClientArgs {
    /// Which.
    #[command(flatten)]
    pub client: NamedClientArgs,
    /// Put the secret into this new file, mode 0600, instead of telling it.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}
