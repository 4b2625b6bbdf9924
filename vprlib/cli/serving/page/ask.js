// Requests to the service, with its token where it has one.
"use strict";

page.Refusal = class extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
};

page.token = {
  get: () => sessionStorage.getItem("token") ?? "",
  set: (value) => sessionStorage.setItem("token", value),
};

// The response; a refusal is an error whose message is the sentence of the service.
page.ask = async (path, settings = {}) => {
  const token = page.token.get();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...settings, headers, cache: "no-store" });
  } catch {
    throw new page.Refusal(0, "The service cannot be reached: is it still running?");
  }
  if (response.ok) return response;
  let sentence = `The service answered with an error (${response.status}).`;
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // not from the service itself, such as a proxy's page
  }
  throw new page.Refusal(response.status, sentence);
};

page.locate = async (photographs, fields) => {
  const body = new FormData();
  for (const photograph of photographs) body.append("photo", photograph, photograph.name || "photograph");
  for (const [name, value] of Object.entries(fields)) if (value) body.append(name, value);
  return (await page.ask("/v1/locate", { method: "POST", body })).json();
};

// Shows a picture of the map in an element; one that is not there leaves it empty.
page.show = async (image, address, held) => {
  try {
    const link = URL.createObjectURL(await (await page.ask(address)).blob());
    held.push(link);
    image.src = link;
  } catch {
    image.replaceWith(page.el("span", { className: "nothing" }));
  }
};
