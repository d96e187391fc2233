"""Remote providers, one module each, written on the official SDKs. An SDK is imported when its first turn begins."""
