//! BUCKET_ASK: send me the members of these buckets.

digest! {
    /// BUCKET_ASK: answered by MEMBER and RUMOUR digests on the bulk channel.
    BucketAsk = 0x2B, 40 bytes {
        /// Zero.
        4 rsv: [u8; 4],
        /// Bit b % 8 of byte b / 8: bucket b.
        8 bitmap: [u8; 32],
    }
}
