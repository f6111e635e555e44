//! What each verb of the command line does, one file each.

mod attach;
pub mod clients;
pub mod config;
pub mod debug;
pub mod doctor;
pub mod drain;
pub mod keygen;
pub mod keys;
mod manage;
pub mod manual;
pub mod members;
pub mod overlays;
pub mod publish;
pub mod reach;
pub mod read;
pub mod reload;
pub mod rtt;
pub mod run;
mod secret;
pub mod subscribe;
pub mod subscriptions;
pub mod tokens;
pub mod top;
pub mod trace;
pub mod validate;
