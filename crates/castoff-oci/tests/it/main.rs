//! What is read from users and registries, as tables.

mod platform;
mod reference;
