//! What each verb of the command line does, one file each.

mod attach;
pub mod keygen;
pub mod members;
pub mod publish;
pub mod read;
pub mod run;
pub mod subscribe;
pub mod validate;
