//! ELF files made by hand, around given call-frame information. Shared with the fuzz target.

/// Where the text begins in every image.
pub(crate) const TEXT: u64 = 0x1000;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const FRAMES: usize = 0x200;

/// A section to be listed in the section table.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
}

/// An image with one executable segment, which covers the whole file, at address 0.
#[derive(Clone, Debug)]
pub(crate) struct ElfImage {
    /// Bytes of text, at [`TEXT`].
    pub(crate) text_size: u64,
    /// Entry point, of a program.
    pub(crate) entry: u64,
    /// `.eh_frame`, found through the program headers.
    pub(crate) eh_frame: Vec<u8>,
    /// Listed sections.
    pub(crate) sections: Vec<Section>,
}

impl ElfImage {
    pub(crate) fn new(text_size: u64, eh_frame: Vec<u8>) -> Self {
        Self { text_size, entry: 0, eh_frame, sections: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut image = vec![0; FRAMES];
        image[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        put16(&mut image, 16, 3); // ET_DYN
        put16(&mut image, 18, 62); // EM_X86_64
        put32(&mut image, 20, 1);
        put64(&mut image, 24, self.entry);
        put64(&mut image, 32, 64); // program headers
        put16(&mut image, 52, 64);
        put16(&mut image, 54, 56);
        put16(&mut image, 58, 64);

        // .eh_frame_hdr: version, encodings (pc-relative sdata4, omitted, omitted), pointer to .eh_frame.
        let header = FRAMES - 8;
        image[header..header + 4].copy_from_slice(&[1, 0x1b, 0xff, 0xff]);
        put32(&mut image, header + 4, 4);
        image.extend(&self.eh_frame);
        image.extend([0; 4]);
        if image.len() < TEXT as usize {
            image.resize(TEXT as usize, 0);
        }
        let end = image.len().max((TEXT + self.text_size) as usize);
        image.resize(end.next_multiple_of(8), 0);

        if !self.sections.is_empty() {
            self.append_sections(&mut image);
        }
        let mut headers = vec![(PT_LOAD, 5, 0, image.len() as u64)];
        if !self.eh_frame.is_empty() {
            headers.push((PT_GNU_EH_FRAME, 4, header as u64, 8));
        }
        if self.entry != 0 {
            headers.push((PT_INTERP, 4, 0, 4));
        }
        put16(&mut image, 56, headers.len() as u16);
        for (index, (kind, flags, offset, size)) in headers.into_iter().enumerate() {
            let at = 64 + 56 * index;
            put32(&mut image, at, kind);
            put32(&mut image, at + 4, flags);
            for (field, value) in [(8, offset), (16, offset), (24, offset), (32, size), (40, size), (48, 8)] {
                put64(&mut image, at + field, value);
            }
        }
        image
    }

    fn append_sections(&self, image: &mut Vec<u8>) {
        let mut names = vec![0];
        let mut table = vec![[0; 64]];
        let mut add = |image: &mut Vec<u8>, name: usize, kind: u32, section: &Section| {
            image.resize(image.len().next_multiple_of(8), 0);
            let mut header = [0; 64];
            put32(&mut header, 0, name as u32);
            put32(&mut header, 4, kind);
            put64(&mut header, 8, section.flags);
            put64(&mut header, 16, section.address);
            put64(&mut header, 24, image.len() as u64);
            put64(&mut header, 32, section.bytes.len() as u64);
            image.extend(&section.bytes);
            table.push(header);
        };
        for section in &self.sections {
            add(image, names.len(), 1, section);
            names.extend(section.name.as_bytes());
            names.push(0);
        }
        let strings = Section { name: "", flags: 0, address: 0, bytes: names };
        add(image, 0, 3, &strings);
        image.resize(image.len().next_multiple_of(8), 0);
        let offset = image.len() as u64;
        put64(image, 40, offset);
        put16(image, 60, table.len() as u16);
        put16(image, 62, table.len() as u16 - 1);
        image.extend(table.concat());
    }
}

fn put16(image: &mut [u8], at: usize, value: u16) {
    image[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put32(image: &mut [u8], at: usize, value: u32) {
    image[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put64(image: &mut [u8], at: usize, value: u64) {
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
