//! Finds the C libraries of Aeron and NATS. One that is missing leaves its peers out and says why in their stead.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=TIDINGS_PEERS_INSTALLED");
    match aeron() {
        Ok(dir) => {
            let dir = dir.display();
            println!("cargo:rustc-cfg=has_aeron");
            println!("cargo:rustc-link-search=native={dir}");
            println!("cargo:rustc-link-lib=dylib=aeron");
            println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}");
        }
        Err(why) => missing("AERON", &why),
    }
    match libnats() {
        Ok(()) => {
            println!("cargo:rustc-cfg=has_libnats");
            println!("cargo:rustc-link-lib=dylib=nats");
        }
        Err(why) => missing("LIBNATS", &why),
    }
}

fn missing(name: &str, why: &str) {
    let why = why.lines().collect::<Vec<_>>().join("; ");
    println!("cargo:warning=without {name}: {why}");
    println!("cargo:rustc-env=WHY_NO_{name}={why}");
}

/// The folder of the library, where ./install put it.
fn aeron() -> Result<PathBuf, String> {
    let installed = env::var_os("TIDINGS_PEERS_INSTALLED")
        .ok_or("it is built by bench/peers/install, which sets TIDINGS_PEERS_INSTALLED")?;
    let dir = PathBuf::from(installed).join("aeron/lib");
    let library = dir.join("libaeron.so");
    println!("cargo:rerun-if-changed={}", library.display());
    if library.is_file() {
        Ok(dir)
    } else {
        Err("bench/peers/install did not build libaeron.so".to_owned())
    }
}

fn libnats() -> Result<(), String> {
    let output = Command::new("pkg-config")
        .args(["--print-errors", "--exists", "libnats"])
        .output()
        .map_err(|error| format!("pkg-config: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
