//! Two small models.
