//! `castoff sign`: signatures with a key beside images that registries have.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use castoff_oci::{Descriptor, Digest, Index, Manifest, Reference};
use castoff_solver::export::pack::Pack;
use castoff_solver::export::push::{self as pushing, PushOptions};
use castoff_solver::transfer::{self, Place};
use castoff_solver::{Bodies, Event, StepId, World};
use serde_json::{Map, Value};

use super::Context;
use super::copy::step;
use crate::args::{Environment, SignArgs, fields};
use crate::exit;
use crate::interrupt;
use crate::sign::{self, Key};

/// A key with more bytes than this is none.
const LIMIT: u64 = 64 << 10;

/// Indexes in indexes, deeper than anybody has them.
const DEPTH: usize = 8;

pub(super) fn sign(args: &SignArgs, context: &Context<'_>) -> anyhow::Result<u8> {
    let names =
        args.images.iter().map(|text| Ok(text.parse()?)).collect::<anyhow::Result<Vec<Reference>>>()?;
    let mut optional = Map::new();
    for text in &args.annotations {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.with_context(|| format!("`{text}`: expected KEY=VALUE"))?;
        optional.insert(key.to_owned(), Value::String(value.to_owned()));
    }
    let mode = super::progress_mode(args.quiet, args.progress.as_deref(), context)?;
    let insecure = !args.tls_verify.as_deref().map_or(Ok(true), fields::boolean)?;
    let key = key(&args.key, context.environment)?;
    let mut session = context.session()?;
    if insecure {
        for name in &names {
            session.world.registry = session.world.registry.insecure(name.registry());
        }
    }
    let world = &session.world;
    let bodies = Bodies::new(world);
    let interrupted = interrupt::watch(&world.cancel)?;
    let signed = super::build::show(mode, context, |events| {
        let mut signed = Vec::new();
        for name in &names {
            let root = transfer::find_in_registry(world, name)?;
            let mut digests = BTreeSet::from([root.digest]);
            if args.recursive {
                below(world, &Place::Registry(name.clone()), &root, &mut digests, 0)?;
            }
            for digest in digests {
                let number = StepId(u32::try_from(signed.len()).unwrap_or(u32::MAX));
                let work =
                    Work { world, key: &key, name, optional: &optional, insecure, number, bodies: &bodies };
                signed.push(work.sign(digest, events)?);
            }
        }
        anyhow::Ok(signed)
    });
    if interrupted.happened() {
        return Ok(exit::INTERRUPTED);
    }
    for line in signed.result? {
        super::print(&line)?;
    }
    Ok(exit::SUCCESS)
}

/// Reads the key. The password of an encrypted one comes from where cosign takes it.
fn key(path: &Path, environment: &Environment) -> anyhow::Result<Key> {
    let failed = || format!("the key `{}`", path.display());
    let mut pem = String::new();
    let file = std::fs::File::open(path).with_context(failed)?;
    file.take(LIMIT).read_to_string(&mut pem).with_context(failed)?;
    let password = match environment.text("COSIGN_PASSWORD") {
        _ if !Key::is_encrypted(&pem) => String::new(),
        Some(password) => password.to_owned(),
        None if io::stdin().is_terminal() => super::login::ask("Password of the key: ", false)?,
        None => bail!("the key `{}` is encrypted: COSIGN_PASSWORD has its password", path.display()),
    };
    Key::read(&pem, password.as_bytes()).with_context(failed)
}

/// Collects what an index names, and what those name.
fn below(
    world: &World,
    place: &Place,
    root: &Descriptor,
    digests: &mut BTreeSet<Digest>,
    depth: usize,
) -> anyhow::Result<()> {
    if !root.media_type.is_index() || depth > DEPTH {
        return Ok(());
    }
    let index: Index = serde_json::from_slice(&transfer::document(world, place, root)?)?;
    for entry in &index.manifests {
        if digests.insert(entry.digest) {
            below(world, place, entry, digests, depth + 1)?;
        }
    }
    Ok(())
}

/// What signing one digest needs.
struct Work<'a> {
    world: &'a World,
    key: &'a Key,
    name: &'a Reference,
    optional: &'a Map<String, Value>,
    insecure: bool,
    number: StepId,
    bodies: &'a Bodies<'a>,
}

impl Work<'_> {
    /// Signs a digest, pushes the signature, and returns what is said of it.
    fn sign(&self, digest: Digest, events: &mut dyn FnMut(Event)) -> anyhow::Result<String> {
        let place = sign::place(self.name, &digest)?;
        let title = format!("signing {}@{digest}", self.name.name());
        step(&title, self.number, events, |messenger| {
            let pack = self.pack(&place, digest)?;
            let names = std::slice::from_ref(&place);
            let options = PushOptions { names, by_digest: false, insecure: self.insecure, step: self.number };
            pushing::push(&pack, self.bodies, messenger, &options)?;
            Ok(format!("{place}@{}\n", pack.root.digest))
        })
    }

    /// Makes the image of signatures: those that are there, and a new one.
    fn pack(&self, place: &Reference, digest: Digest) -> anyhow::Result<Pack> {
        let world = self.world;
        let before = self.before(place)?;
        let before = before.as_ref().map(|(manifest, config)| (manifest, config));
        let image = sign::sign(self.key, self.name, &digest, self.optional, before);
        for document in [&image.payload[..], &image.config, image.manifest.bytes()] {
            world.store.put_blob(document)?;
        }
        let media_type = image.manifest.value().media_type.clone().expect("it is one of ours");
        let size = image.manifest.bytes().len() as u64;
        let root = Descriptor::new(media_type, image.manifest.digest(), size);
        Ok(transfer::gather(world, &Place::Store, &root, None)?)
    }

    /// Returns the image with the signatures that there are.
    fn before(&self, place: &Reference) -> anyhow::Result<Option<(Manifest, Value)>> {
        let world = self.world;
        let root = match world.registry.resolve(place) {
            Ok(found) => Descriptor::new(found.media_type, found.digest, found.bytes.len() as u64),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let at = Place::Registry(place.clone());
        let manifest: Manifest = serde_json::from_slice(&transfer::document(world, &at, &root)?)
            .with_context(|| format!("`{place}` has no signatures, but something else"))?;
        let config = transfer::config_of(world, &at, &root)?
            .with_context(|| format!("`{place}` has no signatures, but something else"))?;
        Ok(Some((manifest, serde_json::from_slice(config.bytes())?)))
    }
}
