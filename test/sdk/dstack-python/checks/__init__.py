"""What a guest agent must answer to the published Python SDK, by subject."""
