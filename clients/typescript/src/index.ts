/** What is the same in Node and in browsers; `connect` is in `@nagaya/client/node` and `/web`. */
export { Code } from "@connectrpc/connect";
export { Client, type UploadTarget } from "./client.js";
export type { FileRequest } from "./download.js";
export {
  ApiError,
  BytesCorrupt,
  fromStatus,
  type Reason,
  SettingsInvalid,
  type Violation,
} from "./errors.js";
export { pages } from "./pages.js";
export type { ServiceName, Settings, Token } from "./settings.js";
export { isFinal } from "./watch.js";
export type { WatchOptions } from "./watching.js";
