//! The client against a server that errs on purpose, on this machine's loopback.

mod authentication;
mod blobs;
mod buckets;
mod documents;
mod downloads;
mod endpoints;
mod kit;
mod pushes;
mod repository;
mod server;
