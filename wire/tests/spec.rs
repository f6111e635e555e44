//! SPEC.md and the code tell the same of every digest: kind, size, and offset, type and name of each field.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, PartialEq, Eq)]
struct Shape {
    size: String,
    /// (offset, type, name)
    fields: Vec<(String, String, String)>,
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The name of a Rust type in SPEC.md.
fn spec_type(rust: &str) -> String {
    match rust {
        "NodeId" => "id".into(),
        "Boot" => "boot".into(),
        "Introduction" => "introduction".into(),
        array if array.starts_with("[u8; ") => array.replace("u8; ", ""),
        integer => integer.replace('U', "u"),
    }
}

/// Every `digest!` of the sources, by kind.
fn shapes_in_code() -> BTreeMap<String, Shape> {
    let mut files = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/digest"),
        &mut files,
    );
    let mut shapes = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for block in text.split("\ndigest! {\n").skip(1) {
            let block = block.split("\n}\n").next().unwrap();
            let lines = block
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with("///"));
            let mut lines = lines.filter(|line| line.contains(' '));
            let title: Vec<_> = lines.next().unwrap().split([' ', ',']).collect();
            let fields = lines.map(|line| {
                let (at, field) = line.trim_end_matches(',').split_once(' ').unwrap();
                let (name, rust) = field.split_once(": ").unwrap();
                (at.into(), spec_type(rust), name.into())
            });
            let shape = Shape {
                size: title[4].into(),
                fields: fields.collect(),
            };
            shapes.insert(title[2].into(), shape);
        }
    }
    shapes
}

/// Every digest chapter of SPEC.md, by kind.
fn shapes_in_spec() -> BTreeMap<String, Shape> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SPEC.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut shapes = BTreeMap::new();
    for chapter in text.split("\n#### 0x").skip(1) {
        let chapter = chapter.split("\n#").next().unwrap();
        let (title, rest) = chapter.split_once('\n').unwrap();
        let kind = format!("0x{}", title.split(' ').next().unwrap());
        let size = title.rsplit('(').next().unwrap().trim_end_matches(" B)");
        let rows = rest.lines().filter(|line| line.starts_with("| ")).skip(1);
        let fields = rows.map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].into(), cells[2].into(), cells[3].into())
        });
        shapes.insert(
            kind,
            Shape {
                size: size.into(),
                fields: fields.collect(),
            },
        );
    }
    shapes
}

#[test]
fn the_specification_has_the_layouts_of_the_code() {
    let (code, spec) = (shapes_in_code(), shapes_in_spec());
    assert_eq!(code.len(), 44);
    assert_eq!(
        code.keys().collect::<Vec<_>>(),
        spec.keys().collect::<Vec<_>>()
    );
    for (kind, shape) in code {
        assert_eq!(spec[&kind], shape, "{kind}");
    }
}
