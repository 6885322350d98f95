//! The generated Protobuf code is committed, so that a build needs neither `protoc` nor a build
//! script. Here it is generated again, and must come out the same.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A `.proto` file, and the committed Rust that is generated from it.
struct Generated {
    /// The directory that imports are relative to.
    root: &'static str,
    proto: &'static str,
    rust: &'static str,
    /// Whether `bytes` fields are `bytes::Bytes`, which share, instead of `Vec<u8>`.
    shared_bytes: bool,
    /// What it imports, and whose code stands elsewhere: the messages' names and their module.
    imports: Option<(&'static [&'static str], &'static str)>,
}

/// All of them; a new one is a new entry.
const GENERATED: &[Generated] = &[
    Generated {
        root: "proto",
        proto: "proto/kindlog/v1/resource.proto",
        rust: "src/bin/kindlog/resource_proto.rs",
        shared_bytes: true,
        imports: None,
    },
    Generated {
        root: "proto",
        proto: "proto/kindlog/v1/manifest.proto",
        rust: "src/format/manifest_proto.rs",
        shared_bytes: false,
        imports: None,
    },
    Generated {
        root: "proto",
        proto: "proto/kindlog/v1/backup.proto",
        rust: "src/format/backup_proto.rs",
        shared_bytes: false,
        imports: Some((
            &[
                "kindlog.v1.Manifest",
                "kindlog.v1.Segment",
                "kindlog.v1.Sealed",
                "kindlog.v1.KindRange",
            ],
            "super::manifest_proto",
        )),
    },
    Generated {
        root: "proto",
        proto: "proto/examples/daemon.proto",
        rust: "src/bin/kindlog/examples.rs",
        shared_bytes: false,
        imports: None,
    },
];

/// The first line of every generated file.
const HEADER: &str = "// Generated from {proto}: KINDLOG_UPDATE=1 cargo test generated\n\n";

#[test]
fn committed_code_is_what_the_proto_files_generate() {
    let update = env::var_os("KINDLOG_UPDATE").is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    for entry in GENERATED {
        let fresh = generate(entry);
        let path = at(entry.rust);
        if fs::read_to_string(&path).is_ok_and(|committed| committed == fresh) {
            continue;
        }
        if update {
            fs::write(&path, fresh).expect("write the generated file");
        } else {
            stale.push(format!("{} does not match {}", entry.rust, entry.proto));
        }
    }
    assert!(
        stale.is_empty(),
        "{}\nrun `KINDLOG_UPDATE=1 cargo test generated` and commit what it writes",
        stale.join("\n")
    );
}

fn generate(entry: &Generated) -> String {
    let descriptors = protox::compile([at(entry.proto)], [at(entry.root)]).expect("compile");
    let out = tempfile::tempdir().expect("a temporary directory");
    let mut config = prost_build::Config::new();
    config.btree_map(["."]).out_dir(out.path());
    if entry.shared_bytes {
        config.bytes(["."]);
    }
    if let Some((messages, module)) = entry.imports {
        for message in messages {
            let name = message.rsplit('.').next().expect("a name");
            config.extern_path(format!(".{message}"), format!("{module}::{name}"));
        }
    }
    config.compile_fds(descriptors).expect("generate");
    let header = HEADER.replace("{proto}", entry.proto);
    header + &only_package(out.path())
}

/// The one file per package that prost-build writes.
fn only_package(dir: &Path) -> String {
    let files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("list the output")
        .map(|entry| entry.expect("list the output").path())
        .collect();
    assert_eq!(files.len(), 1, "one package per proto file: {files:?}");
    fs::read_to_string(&files[0]).expect("read the output")
}

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
