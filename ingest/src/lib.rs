//! Every way in: decoders, limits, the write routes.
