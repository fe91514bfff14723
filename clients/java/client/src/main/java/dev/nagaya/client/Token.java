package dev.nagaya.client;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Says who calls. It is asked before each attempt at a call, by the thread that begins it, so a
 * token can be renewed while a client runs.
 */
@FunctionalInterface
public interface Token {
  /** Returns the caller's token: printable ASCII; white space around it is not sent. */
  String read() throws IOException;

  /** Returns a token that does not change. */
  static Token text(String text) {
    return () -> text;
  }

  /** Returns the token that a file holds, which is read anew for each call. */
  static Token file(Path path) {
    return () -> {
      String text = Files.readString(path).strip();
      if (text.isEmpty()) {
        throw new IOException("the token file " + path + " is empty");
      }
      return text;
    };
  }
}
