"""What crosses a process boundary, and how: messages, errors, tensors in shared memory."""
