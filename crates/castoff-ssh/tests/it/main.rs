//! Agents as ssh's own programs see them, and as hostile clients do.

mod hostile;
mod kit;
mod openssh;
