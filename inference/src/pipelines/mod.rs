//! Jobs as serialisable state machines: text to image, chat.
