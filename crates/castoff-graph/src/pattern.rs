//! The two pattern languages of the field.
