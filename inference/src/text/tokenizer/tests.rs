//! Hard text against reference tokenizers, and hostile vocabularies.

use super::*;
