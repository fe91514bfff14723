/**
 * Call a List method until its end, and yield each page.
 *
 * The request's own `pageToken` is where it begins.
 */
export async function* pages<Request extends object, Page extends { nextPageToken: string }>(
  method: (request: Request & { pageToken?: string }) => Promise<Page>,
  request: Request & { pageToken?: string },
): AsyncGenerator<Page, void, undefined> {
  for (let next = request; ; ) {
    const page = await method(next);
    yield page;
    if (page.nextPageToken === "") {
      return;
    }
    next = { ...request, pageToken: page.nextPageToken };
  }
}
