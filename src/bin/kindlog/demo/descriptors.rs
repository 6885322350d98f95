//! Step 1: Protobuf that nobody made up for it. Every descriptor of the `.proto` files that come
//! with the Protobuf compiler, and of the project's own, stored and read back.

use std::collections::BTreeMap;
use std::time::Instant;

use kindlog::{Batch, Durability, Store};
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::{Teller, check, check_bytes, check_count};
use crate::failure::{Failure, Outcome};
use crate::output::{counted, size};

/// The files that protox carries.
const GOOGLE: &[&str] = &[
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/compiler/plugin.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

/// The project's own files.
const OWN: &[(&str, &str)] = &[
    ("examples/daemon.proto", include_str!("../../../../proto/examples/daemon.proto")),
    ("kindlog/v1/resource.proto", include_str!("../../../../proto/kindlog/v1/resource.proto")),
];

/// Encoded messages by id, by kind.
type Messages = BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>;

const FILE: &str = "FileDescriptorProto";

pub(super) fn run(store: &Store, teller: &mut Teller) -> Outcome {
    let files = compile()?;
    let mut messages = Messages::new();
    for file in &files {
        add_file(&mut messages, file);
    }
    let bytes: usize = messages.values().flat_map(|kind| kind.values()).map(Vec::len).sum();
    teller.title("1. Real Protobuf: every descriptor of the .proto files in this program")?;
    let files = counted(files.len() as u64, "file");
    teller.line(&format!("compiled: {files}, {} of descriptors", size(bytes as u64)))?;
    write(store, teller, &messages)?;
    read_back(store, teller, &messages)
}

fn write(store: &Store, teller: &mut Teller, messages: &Messages) -> Outcome {
    let start = Instant::now();
    for (name, data) in &messages[FILE] {
        store.put(FILE, name, data)?;
    }
    let files = messages[FILE].len() as u64;
    teller.did("put (Sync)", files, "file", start)?;

    let start = Instant::now();
    let mut stored = 0;
    for (kind, of_kind) in messages.iter().filter(|(kind, _)| **kind != FILE) {
        for (id, data) in of_kind {
            let mut one = Batch::new();
            one.put(kind, id, data);
            store.commit_with(one, Durability::Os)?;
            stored += 1;
        }
    }
    teller.did("put (Os)", stored, "descriptor", start)
}

fn read_back(store: &Store, teller: &mut Teller, messages: &Messages) -> Outcome {
    let start = Instant::now();
    let mut compared = 0;
    for (kind, of_kind) in messages {
        for (id, data) in of_kind {
            check_bytes(store, kind, id, data)?;
            compared += 1;
        }
        check_count(&format!("the count of {kind}"), store.count(kind)?, of_kind.len() as u64)?;
        let mut expected = of_kind.keys();
        for id in store.scan(kind).keys() {
            let id = id?;
            check(expected.next() == Some(&id), || format!("{kind}/{id} is out of order"))?;
        }
        check(expected.next().is_none(), || format!("a scan of {kind} ends early"))?;
    }
    teller.did("read back, every byte the same", compared, "descriptor", start)
}

fn compile() -> Outcome<Vec<FileDescriptorProto>> {
    let compiled = |error: protox::Error| Failure::Io(format!("compiling .proto files: {error}"));
    let mut resolver = ChainFileResolver::new();
    resolver.add(GoogleFileResolver::new());
    resolver.add(Own);
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(GOOGLE).map_err(compiled)?;
    compiler.open_files(OWN.iter().map(|(name, _)| name)).map_err(compiled)?;
    Ok(compiler.file_descriptor_set().file)
}

/// Finds the project's own files in this program.
struct Own;

impl FileResolver for Own {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match OWN.iter().find(|(own, _)| *own == name) {
            Some((_, source)) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn add(messages: &mut Messages, kind: &'static str, id: String, message: &impl Message) {
    messages.entry(kind).or_default().insert(id, message.encode_to_vec());
}

fn add_file(messages: &mut Messages, file: &FileDescriptorProto) {
    add(messages, FILE, file.name().to_owned(), file);
    let package = file.package();
    for message in &file.message_type {
        add_message(messages, package, message);
    }
    for of_enum in &file.enum_type {
        add_enum(messages, package, of_enum);
    }
    add_fields(messages, package, &file.extension);
    for service in &file.service {
        let name = format!("{package}.{}", service.name());
        for method in &service.method {
            let id = format!("{name}.{}", method.name());
            add(messages, "MethodDescriptorProto", id, method);
        }
        add(messages, "ServiceDescriptorProto", name, service);
    }
}

fn add_message(messages: &mut Messages, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    add_fields(messages, &name, &message.field);
    add_fields(messages, &name, &message.extension);
    for nested in &message.nested_type {
        add_message(messages, &name, nested);
    }
    for of_enum in &message.enum_type {
        add_enum(messages, &name, of_enum);
    }
    add(messages, "DescriptorProto", name, message);
}

fn add_fields(messages: &mut Messages, scope: &str, fields: &[FieldDescriptorProto]) {
    for field in fields {
        add(messages, "FieldDescriptorProto", format!("{scope}.{}", field.name()), field);
    }
}

fn add_enum(messages: &mut Messages, scope: &str, of_enum: &EnumDescriptorProto) {
    let name = format!("{scope}.{}", of_enum.name());
    for value in &of_enum.value {
        let id = format!("{name}.{}", value.name());
        add(messages, "EnumValueDescriptorProto", id, value);
    }
    add(messages, "EnumDescriptorProto", name, of_enum);
}
