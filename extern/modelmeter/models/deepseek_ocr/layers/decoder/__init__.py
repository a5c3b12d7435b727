"""The decoder: DeepSeek-V2's layers with plain multi-head attention."""
