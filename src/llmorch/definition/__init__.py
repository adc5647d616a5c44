"""What a workflow is once frozen: steps, their actions, and the references between them."""
