package dev.nagaya.client;

import java.io.IOException;

/** Bytes that came are not those of the digest that they should have; none were kept. */
public final class BytesCorruptException extends IOException {
  private static final long serialVersionUID = 1;

  BytesCorruptException(String message) {
    super(message);
  }
}
