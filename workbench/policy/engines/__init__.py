"""The policy engines that can decide calls, one module each, and the table of them."""
