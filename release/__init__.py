"""What makes and checks a release: bill of materials, provenance, advisories. Not part of the package."""
