//! The messages that the server sees most, in forms of their own: read from the wire and
//! written to it without a tree of values between. On the wire they are what the proto
//! says; clients use the generated types.
