//! Changing what an image was made with.

use std::fmt;

use crate::{Options, Resolver, Result};

/// What is to be changed, by options of [`crate::Format::amend_options`].
pub struct Amendment<'a> {
    /// The options and their new values.
    pub options: Options,
    /// Changes that may lose all data are made, too.
    pub force: bool,
    /// Who opens names, and knows the secrets, that the options name.
    pub resolver: &'a dyn Resolver,
    /// Hears how much of all is done.
    pub progress: &'a mut dyn FnMut(u64, u64),
}

impl fmt::Debug for Amendment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, force, .. } = self;
        f.debug_struct("Amendment").field("options", options).field("force", force).finish_non_exhaustive()
    }
}

/// Changing options of an image that exists.
pub trait Amend {
    /// Makes the change, and makes it durable. A crash leaves the image as it was or as it becomes, and it
    /// opens.
    ///
    /// # Errors
    /// [`crate::Error::InvalidOption`] or [`crate::Error::Unsupported`] for what cannot be changed so;
    /// nothing has changed then.
    fn amend(&self, amendment: Amendment<'_>) -> Result<()>;
}
