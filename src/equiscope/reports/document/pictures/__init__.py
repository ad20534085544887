"""The pictures of a document: cut out of the images, written onto sheets, and found there again."""
