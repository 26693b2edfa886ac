//! Builds from end to end: the real program, real steps, and a base image that is made here from the
//! machine's own static busybox. No registry, no engine.

mod agents;
mod arguments;
mod cache;
mod caches;
mod calls;
mod conformance;
mod contexts;
mod copies;
mod devices;
mod downloads;
mod empty_registry;
mod engines;
mod failures;
mod foreign;
mod images;
mod interruptions;
mod kit;
mod language;
mod layers;
mod mounting;
mod mounts;
mod outputs;
mod packing;
mod platforms;
mod processes;
mod remote_contexts;
mod repositories;
mod repository;
mod reproducible;
mod running;
mod secrets;
mod shared_caches;
mod space;
mod stages;
mod startable;
