//! Configuration: what the file and the flags say (raw), what it means (checked), once, before anything starts.
//!
//! `read` turns TOML into [`raw::Raw`], flags are laid over it, `check` turns the result into [`Settings`]. Every
//! mistake is a [`Problem`] that names its place, its key, its value and the remedy; all of them are reported at once.

mod check;
mod check_addresses;
mod check_discovery;
mod check_http;
mod check_influx;
mod check_log;
mod check_node;
mod check_overlay;
pub mod clients;
mod layers;
mod problem;
#[cfg(any(test, fuzzing))]
pub mod props;
mod raw;
mod read;
mod settings;
pub mod show;
pub mod units;

pub use check::{check, data_dir};
pub use layers::{CHANGED, Overruled, merge, options, overruled};
pub use problem::{Given, Origin, Problem, Problems};
pub use raw::{Raw, RawOverlay};
pub use read::read;
#[cfg(test)]
pub use settings::HttpBind;
pub use settings::{
    Discovery, HttpSettings, HttpTls, InfluxSettings, InfluxTarget, Key, NodeSettings, OnTerminate,
    OverlaySettings, Poll, Profile, Settings,
};
