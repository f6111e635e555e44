//! Overlays of an engine without a daemon around it, where what cannot be made can be had.

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::*;
use crate::args::RunArgs;
use crate::files;
use crate::load::load_with;

/// An engine that runs what a configuration file says, with its overlays.
struct Fixture {
    dir: TempDir,
    engine: Arc<Engine>,
    overlays: Arc<Overlays>,
}

fn fixture(overlays: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), overlays);
    for name in ["a", "b", "c", "z"] {
        let key = new_keyring(Suite::Aes256Gcm, 0).unwrap();
        files::write_new_secret(&dir.path().join(format!("{name}.key")), &key).unwrap();
    }
    let args = RunArgs {
        config: Some(file),
        ..RunArgs::default()
    };
    let loaded = load_with(Base::read(&args).unwrap(), State::default()).unwrap();
    let engine = Engine::builder().data_dir(dir.path().join("data"));
    let bind = "127.0.0.1:0".parse().unwrap();
    let engine = Arc::new(engine.bind(bind).shards(2).start().unwrap());
    for (overlay, keyring) in loaded.settings.overlays.iter().zip(loaded.keyrings) {
        start(&engine, overlay, keyring, &loaded.settings.node).unwrap();
    }
    let state = Arc::new(StateFile::open(&dir.path().join("data")).unwrap());
    let clients = Arc::new(Clients::new(Weak::new(), Arc::clone(&state), Vec::new()));
    let known = (loaded.base, loaded.settings);
    let weak = Arc::downgrade(&engine);
    let overlays = Overlays::new(weak, state, known, clients, Box::new(|| ()));
    Fixture {
        dir,
        engine,
        overlays: Arc::new(overlays),
    }
}

fn write(dir: &Path, overlays: &str) -> std::path::PathBuf {
    let file = dir.join("tidings.toml");
    let data = dir.join("data");
    let text = format!(
        "[node]\nshards = 2\ndata_dir = {:?}\n{overlays}",
        data.to_str().unwrap()
    );
    fs::write(&file, text).unwrap();
    file
}

fn overlay(name: &str, more: &str) -> String {
    format!("[[overlay]]\nname = \"{name}\"\nkey_file = \"{name}.key\"\n{more}\n")
}

impl Fixture {
    fn configure(&self, overlays: &str) {
        write(self.dir.path(), overlays);
    }

    fn names(&self) -> Vec<String> {
        let entries = self.engine.overlays().into_iter();
        entries.map(|entry| entry.name).collect()
    }

    fn retain(&self, name: &str) -> (usize, usize) {
        let policy = self.engine.policy(OverlayId::from_name(name)).unwrap();
        (policy.retain, self.overlays.options(name).unwrap().retain)
    }

    /// Keeps an overlay from being started, until the file that this makes is gone.
    fn block(&self, name: &str) -> std::path::PathBuf {
        let folder = self.dir.path().join("data/overlays");
        let path = folder.join(OverlayId::from_name(name).to_string());
        fs::write(&path, "in the way").unwrap();
        path
    }
}

const MIB: usize = 1 << 20;

#[test]
fn an_overlay_that_is_kept_and_does_not_run_is_told_as_such_and_can_be_removed() {
    let node = fixture(&overlay("a", ""));
    let left = node.overlays.state.change(|state| {
        let entry = OverlayState {
            created: true,
            ..OverlayState::default()
        };
        state.overlays.insert("b".to_owned(), entry);
        Ok::<_, StateError>(())
    });
    left.unwrap();
    let wish = Wish {
        name: "b".to_owned(),
        options: Map::new(),
        keyring: None,
        suite: Suite::Aes256Gcm,
    };
    let made = node.overlays.create(wish, |_| Ok::<_, Refusal>(()));
    assert!(matches!(made, Err(Refusal::Idle(_))));
    node.overlays.remove("b").unwrap();
    assert!(node.overlays.state.read(|state| state.overlays.is_empty()));
    let again = node.overlays.remove("b");
    assert!(matches!(again, Err(Refusal::Unknown(..))));
}

#[test]
fn a_reload_with_an_overlay_that_cannot_be_started_changes_nothing_and_is_told_as_a_whole() {
    let node = fixture(&(overlay("a", "retain = \"16MiB\"") + &overlay("z", "")));
    let in_the_way = node.block("c");
    let a = overlay("a", "retain = \"32MiB\"");
    node.configure(&(a + &overlay("b", "") + &overlay("c", "")));
    for _ in 0..2 {
        match node.overlays.reload() {
            Err(Refusal::NotMade { overlay, .. }) => assert_eq!(overlay, "c"),
            other => panic!("{other:?}"),
        }
        assert_eq!(node.names(), ["a", "z"]);
        assert_eq!(node.retain("a"), (16 * MIB, 16 * MIB));
        assert!(node.overlays.options("b").is_err());
        assert!(node.overlays.options("z").is_ok());
    }
    fs::remove_file(in_the_way).unwrap();
    let report = node.overlays.reload().unwrap();
    assert_eq!(
        report.applied,
        [
            "overlay a: retain 16MiB -> 32MiB",
            "overlay b: started",
            "overlay c: started",
            "overlay z: left"
        ]
    );
    assert_eq!(node.names(), ["a", "b", "c"]);
}

#[test]
fn a_reload_with_an_overlay_that_cannot_be_changed_takes_back_the_rest_and_it_does_not_change_later()
 {
    let of = |name: &str, shard: usize, retain: &str| {
        overlay(name, &format!("shard = {shard}\nretain = \"{retain}\""))
    };
    let node = fixture(&(of("a", 0, "16MiB") + &of("b", 1, "16MiB")));
    node.configure(&(of("a", 0, "32MiB") + &of("b", 1, "32MiB") + &of("c", 0, "8MiB")));
    let (go_on, stands_still) = channel::<()>();
    let (stands, until_it_stands) = channel();
    let engine = Arc::clone(&node.engine);
    let asked = std::thread::spawn(move || {
        let asked = engine.on_shard(OverlayId::from_name("b"), move |_| {
            stands.send(()).unwrap();
            // A test that failed is gone.
            let _ = stands_still.recv_timeout(Duration::from_secs(120));
        });
        // It gave up meanwhile.
        drop(asked);
    });
    until_it_stands.recv().unwrap();
    let refused = node.overlays.reload();
    go_on.send(()).unwrap();
    asked.join().unwrap();
    match refused {
        Err(Refusal::NotMade { overlay, .. }) => assert_eq!(overlay, "b"),
        other => panic!("{other:?}"),
    }
    for name in ["a", "b"] {
        assert_eq!(node.retain(name), (16 * MIB, 16 * MIB), "{name}");
    }
    assert_eq!(node.names(), ["a", "b"]);
    assert_eq!(node.overlays.reload().unwrap().refused, [""; 0]);
    assert_eq!(node.retain("b"), (32 * MIB, 32 * MIB));
}

#[test]
fn a_reload_that_fails_leaves_no_overlay_where_it_moved_it() {
    let node = fixture(&(overlay("a", "") + &overlay("b", "shard = 0")));
    let on = |name: &str| super::shard_of(&node.engine, name);
    assert_eq!((on("a"), on("b")), (Some(0), Some(0)));
    // Handlers do not leave their shard, and neither does their overlay.
    let handlers = node.engine.on_shard(OverlayId::from_name("b"), |_| ());
    handlers.unwrap();
    node.configure(&(overlay("a", "shard = 1") + &overlay("b", "shard = 1")));
    match node.overlays.reload() {
        Err(Refusal::NotMade { overlay, left, .. }) => {
            assert_eq!((overlay.as_str(), left.len()), ("b", 0));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((on("a"), on("b")), (Some(0), Some(0)));
    node.configure(&(overlay("a", "shard = 1") + &overlay("b", "shard = 0")));
    node.overlays.reload().unwrap();
    assert_eq!(on("a"), Some(1));
}

#[test]
fn an_overlay_that_cannot_be_forgotten_is_not_lost_sight_of() {
    let node = fixture(&(overlay("a", "") + &overlay("b", "")));
    let id = OverlayId::from_name("b");
    // Its folder is a file now: it cannot be removed as a folder.
    let folder = node.dir.path().join("data/overlays").join(id.to_string());
    node.engine.remove_overlay(id).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let in_the_way = node.block("b");
    node.configure(&overlay("a", ""));
    let report = node.overlays.reload().unwrap();
    assert!(
        report.refused[0].starts_with("overlay b: left: "),
        "{report:?}"
    );
    assert!(node.overlays.options("b").is_ok());
    fs::remove_file(in_the_way).unwrap();
    let report = node.overlays.reload().unwrap();
    assert_eq!(report.applied, ["overlay b: left"]);
    assert!(node.overlays.options("b").is_err());
}
