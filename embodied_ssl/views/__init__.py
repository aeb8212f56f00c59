"""What views are made of: crops in the worker, colour and tiles batched on the device."""
